// Vercel's `ai`, by each of its providers that can be pointed at a gateway.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { ask, base, busy, called, City, failing, PICTURE, refusal, run, weather } from "./program.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const at = { baseURL: `${base}/v1`, apiKey: "test" };
const openai = createOpenAI(at);
const compatible = createOpenAICompatible({ ...at, name: "trunkline", includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic(at);
const tools = { weather: tool({ description: "How cold it is.", inputSchema: City, execute: weather }) };
const told = (error) => refusal(error, APICallError, error.statusCode);

// A stream's errors come among its parts.
async function streamed(asked) {
  const parts = [];
  const stream = streamText({ maxRetries: 0, ...asked, onError: () => {} });
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    parts.push(part);
  }
  return parts;
}

const textOf = (parts) => parts.filter((part) => part.type === "text-delta").map((part) => part.text).join("");

const checks = (surface, made) => ({
  text: async (route) => (await generateText({ model: made(route), prompt: ask.text, maxRetries: 0 })).text,
  stream: async (route) => {
    const parts = await streamed({ model: made(route), prompt: ask.text });
    const { finishReason, totalUsage } = parts.at(-1);
    return `${textOf(parts)} (${finishReason}, ${totalUsage.inputTokens} + ${totalUsage.outputTokens})`;
  },
  tools: async (route) => {
    const asked = { model: made(route), prompt: ask.one, tools, stopWhen: stepCountIs(3), maxRetries: 0 };
    return (await generateText(asked)).text;
  },
  parallel: async (route) => {
    const parts = await streamed({ model: made(route), prompt: ask.two, tools, stopWhen: stepCountIs(3) });
    const calls = parts.filter((part) => part.type === "tool-call");
    return `${calls.map(({ toolName, input }) => called(toolName, input)).join(" ")} ${textOf(parts)}`;
  },
  object: async (route) => {
    const asked = { model: made(route), prompt: ask.object, output: Output.object({ schema: City }), maxRetries: 0 };
    return (await generateText(asked)).output.city;
  },
  picture: async (route) => {
    const content = [{ type: "text", text: "Look." }, { type: "image", image: PICTURE, mediaType: "image/png" }];
    return (await generateText({ model: made(route), messages: [{ role: "user", content }], maxRetries: 0 })).text;
  },
  error: async (route) => told(await failing(() => generateText({ model: made(route), prompt: ask.odd, maxRetries: 0 }))),
  "error of a stream": async (route) => told(await failing(() => streamed({ model: made(route), prompt: ask.odd }))),
  cut: async (route) => Boolean(await failing(() => streamed({ model: made(`${route}-cut`), prompt: ask.text }))),
  retry: async (route) => {
    const [model, prompt] = busy(route, surface);
    return (await generateText({ model: made(model), prompt })).text;
  },
});

await run({
  chat: checks("chat", openai.chat),
  responses: checks("responses", openai.responses),
  compatible: checks("compatible", (route) => compatible.chatModel(route)),
  messages: checks("messages", anthropic),
});
