// The conversation on the page: one row for each exchange, its words beside its waterfall.

import { cutAt } from "./conversation.js";
import { el, followEnd, setText } from "./dom.js";
import { Waterfall } from "./waterfall.js";

// As in console.css: words and waterfall side by side.
const ROOMY = matchMedia("(min-width: 1280px)");

export class Transcript {
  #rows = new Map();
  #newest = null;

  /** `list`: the ol; `box`: what scrolls; `announce(text)`: for those who listen to the page. */
  constructor(list, box, announce) {
    Object.assign(this, { list, box, announce });
  }

  clear() {
    this.#rows.clear();
    this.#newest = null;
    this.list.replaceChildren();
  }

  show(exchange) {
    followEnd(this.box, () => {
      const row = this.#rows.get(exchange) ?? this.#added(exchange);
      row.caller.show(exchange.caller);
      row.agent.show(exchange.agent);
      row.notes.replaceChildren(...exchange.notes.map((note) => el("li", {}, note)));
      if (exchange.turn) this.#time(row, exchange.turn);
    });
  }

  remove(exchange) {
    this.#rows.get(exchange)?.node.remove();
    this.#rows.delete(exchange);
  }

  #added(exchange) {
    const caller = new Said("caller", "You", this.announce);
    const agent = new Said("agent", "Agent", this.announce);
    const notes = el("ul", { class: "notes" });
    const node = el("li", { class: "exchange" }, el("div", { class: "words" }, caller.node, agent.node, notes));
    const row = { node, caller, agent, notes, waterfall: null };
    this.#rows.set(exchange, row);
    this.list.append(node);
    return row;
  }

  #time(row, turn) {
    if (!row.waterfall) {
      row.waterfall = new Waterfall();
      row.node.append(row.waterfall.node);
      // Only the newest turn lists its marks, unless someone opened others; where they would push the words away, none.
      if (this.#newest) this.#newest.details.open = false;
      row.waterfall.details.open = ROOMY.matches;
      this.#newest = row.waterfall;
    }
    row.waterfall.show(turn);
  }
}

/** One side's words in one exchange. */
class Said {
  #announced = false;

  constructor(side, who, announce) {
    Object.assign(this, { who, announce });
    this.heard = el("span", { class: "heard" });
    this.unheard = el("s", { class: "unheard" });
    this.mark = el("span", { class: "cut" });
    this.node = el(
      "p",
      { class: `said ${side}`, hidden: true },
      el("span", { class: "who" }, who),
      el("span", { class: "text" }, this.heard, this.unheard, " ", this.mark),
    );
  }

  show(said) {
    this.node.hidden = !said;
    if (!said) return;
    const [heard, unheard] = said.heard === null ? [said.text, ""] : cutAt(said.text, said.heard);
    setText(this.heard, heard || (said.heard === null && !said.done ? "…" : ""));
    setText(this.unheard, unheard);
    setText(this.mark, said.heard === null ? "" : said.estimated ? "interrupted, about here" : "interrupted here");
    this.node.classList.toggle("forming", !said.done);
    this.node.classList.toggle("speaking", said.speaking);
    if (said.done && !this.#announced && heard) {
      this.#announced = true;
      this.announce(`${this.who}: ${heard}`);
    }
  }
}
