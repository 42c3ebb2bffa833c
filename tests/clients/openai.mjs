// OpenAI's client for Node: chats and responses.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { ask, base, busy, called, City, CITY, failing, PICTURE, refusal, run, weather } from "./program.mjs";

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "test", maxRetries: 0 });
const patient = client.withOptions({ maxRetries: 2 });
const url = `data:image/png;base64,${PICTURE}`;

const says = (content) => [{ role: "user", content }];
const tools = [{ type: "function", function: { name: "weather", parameters: CITY, strict: true } }];
const runnable = [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: weather } }];

async function streamed(model, words) {
  let text = "", usage, finish;
  const asked = { model, messages: says(words), stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(asked)) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  return `${text} (${finish}, ${usage.prompt_tokens} + ${usage.completion_tokens})`;
}

const chat = {
  text: async (model) => (await client.chat.completions.create({ model, messages: says(ask.text) })).choices[0].message.content,
  stream: (model) => streamed(model, ask.text),
  tools: async (model) => {
    const runner = client.chat.completions.runTools({ model, messages: says(ask.one), tools: runnable });
    return runner.finalContent();
  },
  parallel: async (model) => {
    const first = await client.chat.completions.stream({ model, messages: says(ask.two), tools }).finalChatCompletion();
    const { role, content, tool_calls } = first.choices[0].message;
    const calls = tool_calls.map((call) => ({ id: call.id, input: JSON.parse(call.function.arguments), name: call.function.name }));
    const results = calls.map(({ id, input }) => ({ role: "tool", tool_call_id: id, content: weather(input) }));
    const messages = [...says(ask.two), { role, content, tool_calls }, ...results];
    const last = await client.chat.completions.create({ model, messages, tools });
    return `${calls.map(({ name, input }) => called(name, input)).join(" ")} ${last.choices[0].message.content}`;
  },
  object: async (model) => {
    const asked = { model, messages: says(ask.object), response_format: zodResponseFormat(City, "city") };
    return (await client.chat.completions.parse(asked)).choices[0].message.parsed.city;
  },
  picture: async (model) => {
    const content = [{ type: "text", text: "Look." }, { type: "image_url", image_url: { url } }];
    return (await client.chat.completions.create({ model, messages: says(content) })).choices[0].message.content;
  },
  error: async (model) => told(await failing(() => client.chat.completions.create({ model, messages: says(ask.odd) }))),
  "error of a stream": async (model) => told(await failing(() => streamed(model, ask.odd))),
  cut: async (model) => (await failing(() => streamed(`${model}-cut`, ask.text))) instanceof OpenAI.APIError,
  retry: async (route) => {
    const [model, words] = busy(route, "chat");
    return (await patient.chat.completions.create({ model, messages: says(words) })).choices[0].message.content;
  },
};

const told = (error) => refusal(error, OpenAI.BadRequestError, error.status);
const functions = [{ type: "function", name: "weather", parameters: CITY, strict: true }];

const responses = {
  text: async (model) => (await client.responses.create({ model, input: ask.text })).output_text,
  stream: async (model) => {
    let text = "", final;
    for await (const event of await client.responses.create({ model, input: ask.text, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === "response.completed") final = event.response;
    }
    return `${text} (${final.status === "completed" ? "stop" : final.status}, ${final.usage.input_tokens} + ${final.usage.output_tokens})`;
  },
  tools: async (model) => (await rounds(model, ask.one)).last.output_text,
  parallel: async (model) => {
    const { calls, last } = await rounds(model, ask.two);
    return `${calls.map((call) => called(call.name, JSON.parse(call.arguments))).join(" ")} ${last.output_text}`;
  },
  object: async (model) => {
    const asked = { model, input: ask.object, text: { format: zodTextFormat(City, "city") } };
    return (await client.responses.parse(asked)).output_parsed.city;
  },
  picture: async (model) => {
    const content = [{ type: "input_text", text: "Look." }, { type: "input_image", image_url: url, detail: "auto" }];
    return (await client.responses.create({ model, input: says(content) })).output_text;
  },
  error: async (model) => told(await failing(() => client.responses.create({ model, input: ask.odd }))),
  "error of a stream": async (model) => told(await failing(() => client.responses.create({ model, input: ask.odd, stream: true }))),
  cut: async (model) => {
    const stream = () => client.responses.stream({ model: `${model}-cut`, input: ask.text }).finalResponse();
    return (await failing(stream)) instanceof OpenAI.APIError;
  },
  retry: async (route) => {
    const [model, input] = busy(route, "responses");
    return (await patient.responses.create({ model, input })).output_text;
  },
};

async function rounds(model, words) {
  const first = await client.responses.stream({ model, input: words, tools: functions }).finalResponse();
  const calls = first.output.filter((item) => item.type === "function_call");
  const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: weather(JSON.parse(call.arguments)) }));
  const last = await client.responses.create({ model, input: [...says(words), ...first.output, ...results], tools: functions });
  return { calls, last };
}

await run({ chat, responses });
