// The Chat panel: text to a language-model route, streamed.

import { ask } from "./api.js";
import { byId, el, followEnd, ms, notify, setText } from "./dom.js";
import { events } from "./sse.js";

export class ChatPanel {
  #messages = [];
  #answering = null; // the AbortController of the answer being streamed

  constructor() {
    this.route = byId("chat-route");
    this.log = byId("chat-log");
    this.text = byId("chat-text");
    this.sendButton = byId("chat-send");
    this.stopButton = byId("chat-stop");
    this.clearButton = byId("chat-clear");
    this.notice = byId("chat-notice");
    this.empty = this.log.firstElementChild;
    byId("chat-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    this.text.addEventListener("input", () => this.#grow());
    this.stopButton.addEventListener("click", () => this.stop());
    this.clearButton.addEventListener("click", () => this.clear());
  }

  stop() {
    this.#answering?.abort();
  }

  clear() {
    this.stop();
    this.#messages = [];
    this.log.replaceChildren(this.empty);
    this.clearButton.hidden = true;
    notify(this.notice, "");
    this.text.focus();
  }

  async send() {
    const content = this.text.value.trim();
    if (!content || this.#answering || this.sendButton.disabled) return;
    notify(this.notice, "");
    this.text.value = "";
    this.#grow();
    const messages = this.#messages;
    messages.push({ role: "user", content });
    const bubble = this.#added(content);
    const answering = (this.#answering = new AbortController());
    this.#busy(true);
    try {
      const text = await stream(this.route.value, messages, answering.signal, (part) =>
        followEnd(this.log, () => bubble.show(part)),
      );
      messages.push({ role: "assistant", content: text });
    } catch (error) {
      this.#failed(error, bubble, messages, content);
    } finally {
      bubble.settle();
      this.#answering = null;
      this.#busy(false);
    }
  }

  #failed(error, bubble, messages, content) {
    if (error.name === "AbortError") {
      bubble.stopped();
      messages.push({ role: "assistant", content: bubble.text });
      return;
    }
    notify(this.notice, error.message);
    // What got no answer is not part of the conversation: it goes back to where it was written.
    messages.pop();
    bubble.failed();
    if (!this.text.value) this.text.value = content;
    this.#grow();
  }

  #added(content) {
    const bubble = new Bubble();
    if (this.empty.isConnected) this.empty.remove();
    this.log.append(
      el("p", { class: "said caller" }, el("span", { class: "who" }, "You"), el("span", { class: "text" }, content)),
      bubble.node,
    );
    this.log.scrollTop = this.log.scrollHeight;
    this.clearButton.hidden = false;
    return bubble;
  }

  #busy(busy) {
    const focused = document.activeElement;
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    this.route.disabled = busy;
    if (busy && focused === this.sendButton) this.stopButton.focus();
    if (!busy && focused === this.stopButton) this.text.focus();
  }

  #grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight + 2, 180)}px`;
  }
}

/** An answer as it comes. */
class Bubble {
  text = "";

  constructor() {
    this.words = el("span", { class: "text" }, "…");
    this.meta = el("span", { class: "meta" });
    this.node = el(
      "div",
      { class: "said agent forming" },
      el("span", { class: "who" }, "Model"),
      this.words,
      this.meta,
    );
  }

  show({ text, target, ttft }) {
    this.text = text;
    if (text) setText(this.words, text);
    const facts = [target, Number.isFinite(ttft) && `TTFT ${ms(ttft)} ms`].filter(Boolean);
    this.meta.replaceChildren(...facts.map((fact) => el("span", {}, fact)));
  }

  stopped() {
    this.meta.append(el("span", {}, "stopped"));
    if (!this.text) setText(this.words, "(stopped before a word came)");
  }

  failed() {
    this.meta.append(el("span", { class: "bad" }, this.text ? "cut off" : "no answer"));
    if (!this.text) setText(this.words, "");
  }

  settle() {
    this.node.classList.remove("forming");
  }
}

/** Streams one answer: `show({text, target, ttft})` for each part (ttft in seconds); returns its text. */
async function stream(model, messages, signal, show) {
  const asked = performance.now();
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true }),
  });
  const target = response.headers.get("x-trunkline-target");
  let [text, ttft, finished] = ["", null, false];
  for await (const data of events(response.body)) {
    if (data === "[DONE]") {
      finished = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message ?? "the answer broke off");
    const delta = chunk.choices?.[0]?.delta ?? {};
    // Reasoning is not shown, but it is the first sign of an answer.
    if (ttft === null && (delta.content || delta.reasoning_content || delta.reasoning))
      ttft = (performance.now() - asked) / 1000;
    text += delta.content ?? "";
    show({ text, target, ttft });
  }
  if (!finished) throw new Error("The answer broke off: the connection ended before the model did.");
  return text;
}
