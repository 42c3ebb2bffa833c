// Server-sent events out of a fetch body. Pure: bytes in, events out.

/** Yields the data of every event of `stream` (a ReadableStream of bytes). Leaving early cancels the stream. */
export async function* events(stream) {
  for await (const { data } of named(stream)) yield data;
}

/** The same with the event's name: {event, data}. */
export async function* named(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  const split = new Splitter();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* split.push(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Lines may end in \n, \r\n or \r and be cut anywhere; several data lines are one event; an unfinished event is none. */
export class Splitter {
  #rest = "";
  #data = [];
  #event = "message";

  push(text) {
    const found = [];
    // A \r at the very end may be half of \r\n: it waits.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push({ event: this.#event, data: this.#data.join("\n") });
        this.#data = [];
        this.#event = "message";
      } else if (line.startsWith("event:")) {
        this.#event = line.slice(6).trim();
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return found;
  }
}
