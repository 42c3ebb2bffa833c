// A turn's latency, drawn. The names are those of the gateway's timeline; zero is the last packet of the caller's speech.

import { el, ms, setText, svg } from "./dom.js";

const ROW = 22;
const BAR = 10;
const AXIS = 18;
const SPANS = [0.4, 0.6, 0.8, 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 12, 16, 20, 30];

// Which delay ends at which mark, and how far its pale rest runs.
const ROWS = [
  { name: "end_of_turn_delay", stage: "turn", ends: "turn_decided" },
  { name: "transcription_delay", stage: "stt", ends: "stt_final" },
  { name: "llm_node_ttft", stage: "llm", ends: "llm_first_token", rest: "first_clause" },
  { name: "tts_node_ttfb", stage: "tts", ends: "tts_first_byte", rest: "first_sent" },
  { name: "e2e_latency", stage: "e2e", ends: "first_sent" },
];
// On which row a mark's dot sits.
const MARKS = {
  last_speech_rtp: "e2e",
  vad_stop: "turn",
  turn_decided: "turn",
  stt_final: "stt",
  llm_first_token: "llm",
  first_clause: "llm",
  tts_first_byte: "tts",
  first_audible_sample: "tts",
  first_sent: "e2e",
};

/** What is to be drawn, in seconds after the last speech packet. Pure. */
export function layout(turn) {
  const marks = turn.marks ?? {};
  const zero = marks.last_speech_rtp ?? Math.min(...Object.values(marks).filter(Number.isFinite));
  const at = (name) => (Number.isFinite(marks[name]) ? marks[name] - zero : null);
  const rows = ROWS.map(({ name, stage, ends, rest }) => {
    const seconds = Number.isFinite(turn[name]) ? turn[name] : null;
    const end = at(ends) ?? seconds;
    const drawn = seconds !== null && end !== null;
    return {
      name,
      stage,
      seconds,
      start: drawn ? end - seconds : null,
      end: drawn ? end : null,
      rest: drawn && rest ? at(rest) : null,
    };
  });
  const known = Object.keys(MARKS)
    .filter((name) => at(name) !== null)
    .map((name) => ({ name, stage: MARKS[name], at: at(name) }));
  known.sort((a, b) => a.at - b.at);
  const longest = Math.max(
    0,
    ...rows.map(({ end, rest }) => Math.max(end ?? 0, rest ?? 0)),
    ...known.map((mark) => mark.at),
  );
  return { rows, marks: known, span: SPANS.find((span) => span >= longest) ?? Math.ceil(longest / 10) * 10 };
}

/** A figure that shows one turn and may be shown the same turn again. */
export class Waterfall {
  constructor() {
    this.title = el("span", { class: "turn-id" });
    this.total = el("span", { class: "turn-total" });
    this.chart = svg("svg", { class: "chart", role: "img", height: ROWS.length * ROW + AXIS });
    this.names = ROWS.map(({ name, stage }) => el("span", { class: "bar-name", "data-stage": stage }, name));
    this.numbers = ROWS.map(() => el("span", { class: "bar-ms" }));
    this.marks = el("ol", { class: "marks" });
    this.details = el("details", { class: "marks-box" }, el("summary", {}, "marks"), this.marks);
    this.targets = el("p", { class: "targets" });
    const grid = el(
      "div",
      { class: "bars" },
      el("div", { class: "bar-names" }, ...this.names),
      this.chart,
      el("div", { class: "bar-numbers" }, ...this.numbers),
    );
    this.node = el(
      "figure",
      { class: "waterfall" },
      el("figcaption", {}, this.title, this.total),
      grid,
      this.targets,
      this.details,
    );
  }

  show(turn) {
    const { rows, marks, span } = layout(turn);
    setText(this.title, turn.id.replace("_", " "));
    setText(
      this.total,
      Number.isFinite(turn.e2e_latency) ? `${ms(turn.e2e_latency)} ms` : turn.done ? "no answer was heard" : "…",
    );
    this.node.classList.toggle("open", !turn.done);
    rows.forEach((row, index) => {
      setText(this.numbers[index], ms(row.seconds));
      this.numbers[index].dataset.stage = row.stage;
    });
    this.chart.setAttribute(
      "aria-label",
      rows
        .filter(({ seconds }) => seconds !== null)
        .map(({ name, seconds }) => `${name} ${ms(seconds)} milliseconds`)
        .join(", ") || "nothing measured yet",
    );
    this.chart.replaceChildren(...axis(span), ...bars(rows, span), ...dots(marks, rows, span));
    this.marks.replaceChildren(
      ...marks.map(({ name, stage, at }) =>
        el(
          "li",
          { "data-stage": stage },
          el("span", { class: "mark-name" }, name),
          el("span", { class: "mark-at" }, ms(at)),
        ),
      ),
    );
    this.targets.replaceChildren(...served(turn.targets ?? {}));
  }
}

const percent = (at, span) => `${((Math.max(0, at) / span) * 100).toFixed(2)}%`;
const middle = (index) => index * ROW + ROW / 2;

function axis(span) {
  return [0, 0.25, 0.5, 0.75, 1].flatMap((part) => {
    const x = percent(part, 1);
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    return [
      svg("line", { class: "tick", x1: x, x2: x, y1: 0, y2: ROWS.length * ROW }),
      svg("text", { class: "tick-ms", x, y: ROWS.length * ROW + 13, "text-anchor": anchor }, ms(part * span)),
    ];
  });
}

function bars(rows, span) {
  return rows.flatMap(({ stage, start, end, rest }, index) => {
    if (end === null) return [];
    const y = middle(index) - BAR / 2;
    const bar = (from, to, kind) =>
      svg("rect", {
        class: kind,
        "data-stage": stage,
        x: percent(from, span),
        width: percent(to - Math.max(0, from), span),
        y,
        height: BAR,
        rx: 2,
      });
    return rest !== null && rest > end
      ? [bar(end, rest, "bar rest"), bar(start, end, "bar")]
      : [bar(start, end, "bar")];
  });
}

function dots(marks, rows, span) {
  return marks.map(({ name, stage, at }) => {
    const y = middle(rows.findIndex((row) => row.stage === stage));
    return svg(
      "circle",
      { class: "dot", "data-stage": stage, cx: percent(at, span), cy: y, r: 3.5 },
      svg("title", {}, `${name} ${ms(at)} ms`),
    );
  });
}

function served(targets) {
  return ["stt", "llm", "tts", "s2s"]
    .filter((stage) => targets[stage])
    .map((stage) => el("span", { class: "target", "data-stage": stage }, el("b", {}, stage), " ", targets[stage]));
}

/** The middle of the turns' e2e_latency, or null. */
export function median(turns) {
  const heard = turns
    .map((turn) => turn.e2e_latency)
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  if (heard.length === 0) return null;
  const half = Math.floor(heard.length / 2);
  return heard.length % 2 ? heard[half] : (heard[half - 1] + heard[half]) / 2;
}
