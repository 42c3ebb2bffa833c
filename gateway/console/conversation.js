// What was said on a call, put together from its two event channels. Knows nothing of the page.
//
// An exchange is what the caller said, what was answered, and the turn's timeline: {caller, agent, turn, notes}. A side is
// {text, done, speaking, heard, estimated}: `heard` is null, or the words that were heard before the caller interrupted.

export class Conversation {
  #items = new Map(); // item id -> {exchange, side}
  #before = new Map(); // an answer's item id -> the item it follows
  #responses = new Map(); // response id -> the answer's item id

  /** `changed(exchange)` after every change; `removed(exchange)` when one turned out to hold nothing. */
  constructor({ changed, removed }) {
    this.exchanges = [];
    this.changed = changed;
    this.removed = removed;
  }

  get turns() {
    return this.exchanges.map(({ turn }) => turn).filter(Boolean);
  }

  /** An OpenAI Realtime event. Those that say nothing about words are passed over. */
  oai(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        return this.#caller(event.item_id, (said) => {
          said.speaking = true;
        });
      case "input_audio_buffer.speech_stopped":
      case "input_audio_buffer.committed":
        return this.#caller(event.item_id, (said) => {
          said.speaking = false;
        });
      case "conversation.item.input_audio_transcription.delta":
        return this.#caller(event.item_id, (said) => {
          said.spelled += event.delta;
          if (!said.partial) said.text = said.spelled;
        });
      case "conversation.item.input_audio_transcription.completed":
        return this.#completed(event);
      case "conversation.item.input_audio_transcription.failed":
        return this.#noted(
          this.#items.get(event.item_id)?.exchange,
          `not transcribed: ${event.error?.message ?? "no reason given"}`,
        );
      case "conversation.item.added":
        if (event.previous_item_id) this.#before.set(event.item.id, event.previous_item_id);
        return undefined;
      case "response.output_item.added":
        this.#responses.set(event.response_id, event.item.id);
        return undefined;
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        return this.#agent(event.item_id, (said) => {
          said.text += event.delta;
        });
      case "response.output_audio_transcript.done":
        return this.#agent(event.item_id, (said) => {
          said.done = true;
          if (said.heard === null) said.text = event.transcript;
        });
      case "output_audio_buffer.started":
        return this.#speaking(event.response_id, true);
      case "output_audio_buffer.stopped":
      case "output_audio_buffer.cleared":
        return this.#speaking(event.response_id, false);
      case "response.done":
        return this.#answered(event.response);
      case "error":
        return this.#noted(this.exchanges.at(-1), event.error?.message ?? "the call reported an error");
      default:
        return undefined;
    }
  }

  /** A message of the `gateway` channel. */
  gateway(message) {
    switch (message.type) {
      case "partial":
        return this.#partial(message.text);
      case "turn":
        return this.#timed(message.turn);
      case "interrupted":
        return this.#interrupted(message);
      case "rerouted":
        return this.#noted(this.exchanges.at(-1), `${message.stage} moved to ${message.target}: ${message.reason}`);
      default:
        return undefined;
    }
  }

  #completed({ item_id, transcript }) {
    this.#caller(item_id, (said) => Object.assign(said, { text: transcript.trim(), done: true, speaking: false }));
    const { exchange } = this.#items.get(item_id);
    // A cough opened the turn and no word came of it.
    if (!exchange.caller.text && !exchange.agent && !exchange.turn) this.#remove(exchange);
  }

  #partial(text) {
    const open = this.exchanges.findLast(({ caller }) => caller && !caller.done);
    const exchange = open ?? this.#opened();
    exchange.caller ??= aSide();
    Object.assign(exchange.caller, { text, partial: true });
    this.changed(exchange);
  }

  #timed(turn) {
    const known = this.exchanges.find((exchange) => exchange.turn?.id === turn.id);
    const exchange = known ?? this.#untimed() ?? this.#opened();
    exchange.turn = turn;
    this.changed(exchange);
  }

  /** The newest exchange without a timeline; one whose caller is still speaking only if there is no other. */
  #untimed() {
    const open = this.exchanges.filter(({ turn, caller }) => !turn && caller);
    return open.findLast(({ caller }) => !caller.speaking) ?? open.at(-1);
  }

  #interrupted({ turn, heard, estimated }) {
    const exchange =
      this.exchanges.find((each) => each.turn?.id === turn) ?? this.exchanges.findLast(({ agent }) => agent);
    if (!exchange?.agent) return;
    Object.assign(exchange.agent, { heard, estimated: Boolean(estimated), speaking: false, done: true });
    this.changed(exchange);
  }

  #speaking(response, speaking) {
    const item = this.#responses.get(response);
    if (this.#items.has(item))
      this.#agent(item, (said) => {
        said.speaking = speaking;
      });
  }

  #answered({ status, status_details: details, id }) {
    const exchange = this.#items.get(this.#responses.get(id))?.exchange ?? this.exchanges.at(-1);
    if (status === "failed") this.#noted(exchange, `no answer: ${details?.error?.message ?? "no reason given"}`);
  }

  #noted(exchange, note) {
    const target = exchange ?? this.#opened();
    target.notes.push(note);
    this.changed(target);
  }

  #caller(id, change) {
    if (!this.#items.has(id)) {
      // Partials may have come before the item had a name.
      const unnamed = this.exchanges.findLast(({ caller }) => caller && !caller.done && !caller.named);
      const exchange = unnamed ?? this.#opened();
      exchange.caller ??= aSide();
      exchange.caller.named = true;
      this.#items.set(id, { exchange, side: "caller" });
    }
    this.#change(id, change);
  }

  #agent(id, change) {
    if (!this.#items.has(id)) {
      const asked = this.#items.get(this.#before.get(id))?.exchange ?? this.exchanges.at(-1);
      const exchange = asked && !asked.agent ? asked : this.#opened();
      exchange.agent = aSide();
      this.#items.set(id, { exchange, side: "agent" });
    }
    this.#change(id, change);
  }

  #change(id, change) {
    const { exchange, side } = this.#items.get(id);
    change(exchange[side]);
    this.changed(exchange);
  }

  #opened() {
    const exchange = { caller: null, agent: null, turn: null, notes: [] };
    this.exchanges.push(exchange);
    return exchange;
  }

  #remove(exchange) {
    this.exchanges.splice(this.exchanges.indexOf(exchange), 1);
    this.removed(exchange);
  }
}

function aSide() {
  return {
    text: "",
    spelled: "",
    partial: false,
    named: false,
    done: false,
    speaking: false,
    heard: null,
    estimated: false,
  };
}

/** `text` cut after as many words as `heard` has: [heard, unheard]. */
export function cutAt(text, heard) {
  let words = (heard.match(/\S+/g) ?? []).length;
  if (words === 0) return ["", text];
  for (const match of text.matchAll(/\S+/g)) {
    words -= 1;
    if (words > 0) continue;
    const end = match.index + match[0].length;
    const rest = text.slice(end).trimStart();
    return [text.slice(0, text.length - rest.length), rest];
  }
  return [text, ""];
}
