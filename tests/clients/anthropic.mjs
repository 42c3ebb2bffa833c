// Anthropic's client for Node: messages.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { ask, base, busy, called, City, CITY, failing, PICTURE, refusal, run, weather } from "./program.mjs";

const client = new Anthropic({ baseURL: base, apiKey: "test", maxRetries: 0 });
const patient = client.withOptions({ maxRetries: 2 });

const says = (model, content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");
const tools = [{ name: "weather", description: "How cold it is.", input_schema: CITY }];
const told = (error) => refusal(error, Anthropic.BadRequestError, error.status);
const streamed = (model, words) => client.messages.stream(says(model, words));

const messages = {
  text: async (model) => textOf(await client.messages.create(says(model, ask.text))),
  stream: async (model) => {
    let text = "";
    const stream = streamed(model, ask.text).on("text", (delta) => (text += delta));
    const { stop_reason, usage } = await stream.finalMessage();
    return `${text} (${stop_reason === "end_turn" ? "stop" : stop_reason}, ${usage.input_tokens} + ${usage.output_tokens})`;
  },
  tools: async (model) => {
    const tool = betaZodTool({ name: "weather", description: "How cold it is.", inputSchema: City, run: weather });
    return textOf(await client.beta.messages.toolRunner({ ...says(model, ask.one), tools: [tool] }));
  },
  parallel: async (model) => {
    const asked = { ...says(model, ask.two), tools };
    const first = await client.messages.stream(asked).finalMessage();
    const calls = first.content.filter((block) => block.type === "tool_use");
    const results = calls.map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: weather(input) }));
    const turns = [...asked.messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
    const last = await client.messages.create({ ...asked, messages: turns });
    return `${calls.map(({ name, input }) => called(name, input)).join(" ")} ${textOf(last)}`;
  },
  object: async (model) => {
    const asked = { ...says(model, ask.object), output_config: { format: zodOutputFormat(City) } };
    return (await client.messages.parse(asked)).parsed_output.city;
  },
  picture: async (model) => {
    const source = { type: "base64", media_type: "image/png", data: PICTURE };
    return textOf(await client.messages.create(says(model, [{ type: "text", text: "Look." }, { type: "image", source }])));
  },
  error: async (model) => told(await failing(() => client.messages.create(says(model, ask.odd)))),
  "error of a stream": async (model) => told(await failing(() => streamed(model, ask.odd).finalMessage())),
  cut: async (model) => (await failing(() => streamed(`${model}-cut`, ask.text).finalMessage())) instanceof Anthropic.AnthropicError,
  retry: async (model) => textOf(await patient.messages.create(says(...busy(model, "messages")))),
  count: async (model) => {
    const { messages } = says(model, ask.text);
    return (await client.messages.countTokens({ model, messages })).input_tokens > 0;
  },
};

await run({ messages });
