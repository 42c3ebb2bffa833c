// Server-sent events out of a fetch body. Pure: bytes in, the data of each event out.

/** Yields the data of every event of `stream` (a ReadableStream of bytes). Leaving early cancels the stream. */
export async function* events(stream) {
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

  push(text) {
    const found = [];
    // A \r at the very end may be half of \r\n: it waits.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return found;
  }
}
