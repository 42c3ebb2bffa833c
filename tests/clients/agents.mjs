// @openai/agents-realtime over a WebSocket: a spoken turn, a tool, an interruption. Prints what came of it as JSON.
// Run as: node agents.mjs http://127.0.0.1:8080 ROUTE SPEECH.wav      (24 kHz mono)
import { readFileSync } from "node:fs";
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const [url, route, path] = process.argv.slice(2);
const FRAME = 960;
let called = 0;
const weather = tool({
  name: "get_weather",
  description: "The weather.",
  parameters: z.object({}),
  execute: async () => {
    called += 1;
    return "It rains in Pune, and it will go on raining for a good while yet, as it does at this time of the year, until the wind turns.";
  },
});
const agent = new RealtimeAgent({ name: "assistant", instructions: "Be brief.", tools: [weather] });
const session = new RealtimeSession(agent, { transport: "websocket" });
const counts = {};
const errors = [];
const count = (kind) => (counts[kind] = (counts[kind] ?? 0) + 1);
for (const kind of ["audio", "audio_stopped", "audio_interrupted", "agent_tool_end", "agent_end"]) session.on(kind, () => count(kind));
session.on("error", (event) => errors.push(JSON.stringify(event.error ?? event)));

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(met, within = 30_000) {
  const end = Date.now() + within;
  while (!met()) {
    if (errors.length) throw new Error(errors[0]);
    if (Date.now() > end) throw new Error(`timeout: ${met} ${JSON.stringify(counts)}`);
    await pause(20);
  }
}
async function speak(quiet = 1.5) {
  const pcm = Buffer.concat([readFileSync(path).subarray(44), Buffer.alloc(Math.round(quiet * 24_000) * 2)]);
  for (let at = 0; at + FRAME <= pcm.length; at += FRAME) {
    session.sendAudio(new Uint8Array(pcm.subarray(at, at + FRAME)).buffer);
    await pause(20);
  }
}

await session.connect({ apiKey: "sk-any", url: `${url.replace("http", "ws")}/v1/realtime?model=${route}` });
await speak();
await until(() => counts.audio_stopped);
const ended = counts.audio_stopped;
session.sendMessage("And what is the weather?");
await until(() => counts.agent_tool_end);
await until(() => counts.audio_stopped > ended);
const heard = counts.audio;
session.sendMessage("And the weather tomorrow, what will it be?");
await until(() => counts.audio > heard);
await speak();
await until(() => counts.audio_interrupted);
await pause(1000);
const history = session.history
  .filter((item) => item.type === "message")
  .map((item) => [item.role, item.content.map((part) => part.transcript ?? part.text ?? "").join(" ")]);
console.log(JSON.stringify({ called, interrupted: counts.audio_interrupted, errors, history }));
session.close();
process.exit(0);
