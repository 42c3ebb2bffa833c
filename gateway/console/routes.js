// The Routes panel: how every target stands, once a second.

import { byId, el, ms, setText, svg } from "./dom.js";
import { Sparkline, top } from "./sparkline.js";

const COLUMNS = [
  ["target", "Target"],
  ["trend", ""],
  ["ttft", "p50, ms"],
  ["tail", "p95, ms"],
  ["errors", "errors"],
  ["share", "share"],
  ["flight", "in flight"],
];

const FAILING = 0.3; // beyond this a target is ejected, unless it is the route's last

const percent = (part) => `${part > 0 && part < 0.01 ? "<1" : Math.round(part * 100)} %`;
const seconds = (left) => `${Math.max(1, Math.ceil(left))} s`;

/** What a target is doing, as {tone, text, why}. Pure. */
export function doing(target) {
  if (target.ejected_for !== null)
    return { tone: "bad", text: `ejected, back in ${seconds(target.ejected_for)}`, why: target.why };
  if (target.resting_for !== null)
    return { tone: "warn", text: `resting, back in ${seconds(target.resting_for)}`, why: target.why };
  if (target.why) return { tone: "bad", text: "out", why: target.why };
  if (target.error_rate >= FAILING) return { tone: "warn", text: "failing", why: null };
  // Evidence fades: what was not asked for long is as unknown as what never was.
  const asked = [...target.ttft, ...target.failed].some((each) => each > 0);
  const known = target.samples >= 0.5 || target.in_flight > 0 || asked;
  if (known && target.shadow) return { tone: "idle", text: "shadow", why: "gets copies, serves nobody" };
  return known ? { tone: "good", text: "serving", why: null } : { tone: "idle", text: "idle", why: null };
}

export class RoutesPanel {
  #routes = new Map();

  constructor() {
    this.list = byId("routes-list");
    this.state = byId("routes-state");
    this.empty = this.list.firstElementChild;
  }

  get names() {
    return [...this.#routes.keys()];
  }

  /** A `standing` event of the feed. */
  show({ targets, step, state }) {
    const routes = new Map();
    for (const target of targets) routes.set(target.route, [...(routes.get(target.route) ?? []), target]);
    this.empty.hidden = routes.size > 0;
    for (const [name, shown] of this.#routes) {
      if (routes.has(name)) continue;
      shown.node.remove();
      this.#routes.delete(name);
    }
    for (const [name, group] of routes) {
      if (!this.#routes.has(name)) {
        this.#routes.set(name, new RouteBox(name, group[0].kind));
        this.list.append(this.#routes.get(name).node);
      }
      this.#routes.get(name).show(group, step);
    }
    this.#sum(targets, state);
  }

  /** `text`: instead of what the feed would say; the rows are as they were last told. */
  stale(text) {
    this.list.classList.add("stale");
    setText(this.state, text);
  }

  #sum(targets, state) {
    this.list.classList.remove("stale");
    const awake = targets.filter(({ asleep }) => asleep === null);
    const out = awake.filter((target) => target.ejected_for !== null || target.resting_for !== null || target.why);
    const told = [out.length ? `out: ${out.map(({ target }) => target).join(", ")}` : `${awake.length} targets awake`];
    if (state === "local") told.push("shared state is out of reach");
    setText(this.state, told.join(" · "));
    this.state.dataset.tone = out.length || state === "local" ? "warn" : "";
  }
}

/** One route: a table of its targets that are awake, and those that are not with the reason. */
class RouteBox {
  #rows = new Map();

  constructor(name, kind) {
    this.scale = el("span", { class: "spark-scale" });
    this.body = el("tbody", { role: "rowgroup" });
    const heads = COLUMNS.map(([column, title]) =>
      el("th", { class: column, role: "columnheader", scope: "col" }, column === "trend" ? this.scale : title),
    );
    this.table = el(
      "table",
      { class: "targets-table", role: "table" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
      this.body,
    );
    this.kind = kind;
    this.sleepers = el("ul", {});
    this.summary = el("summary", {});
    this.asleep = el("details", { class: "sleepers" }, this.summary, this.sleepers);
    this.node = el(
      "section",
      { class: "route", "aria-label": `Route ${name}` },
      el("h3", {}, name, " ", el("span", { class: "kind", "data-stage": kind }, kind)),
      this.table,
      this.asleep,
    );
  }

  show(targets, step) {
    const awake = targets.filter(({ asleep }) => asleep === null);
    const highest = top(awake.map(({ ttft }) => ttft));
    const minutes = Math.round(((awake[0]?.ttft.length ?? 0) * step) / 60);
    setText(this.scale, `TTFT, ${minutes} min, 0 to ${ms(highest)} ms`);
    this.table.hidden = awake.length === 0;
    for (const [name, row] of this.#rows) {
      if (awake.some(({ target }) => target === name)) continue;
      row.node.remove();
      this.#rows.delete(name);
    }
    for (const target of awake) {
      if (!this.#rows.has(target.target)) {
        this.#rows.set(target.target, new TargetRow(target.target, this.kind));
        this.body.append(this.#rows.get(target.target).node);
      }
      this.#rows.get(target.target).show(target, step, highest);
    }
    this.#sleep(
      targets.filter(({ asleep }) => asleep !== null),
      awake.length,
    );
  }

  #sleep(sleepers, awake) {
    this.asleep.hidden = sleepers.length === 0;
    setText(this.summary, awake ? `${sleepers.length} asleep` : `nothing awake: ${sleepers.length} asleep`);
    this.summary.dataset.tone = awake ? "" : "warn";
    const lines = sleepers.map(({ target, asleep }) => `${target}: ${asleep}`);
    if (lines.join("\n") === this.lines) return;
    this.lines = lines.join("\n");
    this.sleepers.replaceChildren(
      ...sleepers.map(({ target, asleep }) => el("li", {}, el("span", { class: "mono" }, target), " ", asleep)),
    );
  }
}

class TargetRow {
  #longest = 0;

  constructor(name, kind) {
    this.spark = new Sparkline(kind);
    this.doing = el("span", { class: "doing" });
    this.why = el("span", { class: "why" });
    this.left = svg("rect", { class: "left", height: "100%" });
    this.countdown = svg("svg", { class: "countdown", "aria-hidden": "true" }, this.left);
    this.bar = svg("rect", { class: "part", height: "100%", "data-stage": kind });
    const bar = svg("svg", { class: "share-bar", "aria-hidden": "true" }, this.bar);
    this.numbers = Object.fromEntries(COLUMNS.slice(2).map(([column]) => [column, el("span", { class: "number" })]));
    const cells = {
      target: [el("span", { class: "mono name" }, name), this.doing, this.why, this.countdown],
      trend: [this.spark.node],
      share: [this.numbers.share, bar],
    };
    this.node = el(
      "tr",
      { role: "row" },
      ...COLUMNS.map(([column, title]) => {
        const inside = cells[column] ?? [this.numbers[column]];
        return column === "target"
          ? el("th", { class: column, role: "rowheader", scope: "row" }, ...inside)
          : el("td", { class: column, role: "cell", "data-name": title }, ...inside);
      }),
    );
  }

  show(target, step, highest) {
    const { tone, text, why } = doing(target);
    this.node.dataset.tone = tone;
    setText(this.doing, text);
    setText(this.why, why ?? "");
    this.#count(target.ejected_for ?? target.resting_for);
    this.spark.show(target.ttft, target.failed, step, highest);
    const { ttft, tail, errors, share, flight } = this.numbers;
    setText(ttft, ms(target.ttft_p50));
    setText(tail, ms(target.ttft_p95));
    setText(errors, percent(target.error_rate));
    errors.classList.toggle("bad", target.error_rate >= 0.1);
    setText(share, percent(target.share));
    this.bar.setAttribute("width", `${(target.share * 100).toFixed(1)}%`);
    setText(flight, String(target.in_flight));
  }

  /** What is left of the longest that was told since it went out. */
  #count(left) {
    this.countdown.toggleAttribute("hidden", left === null);
    this.#longest = left === null ? 0 : Math.max(this.#longest, left);
    if (left !== null) this.left.setAttribute("width", `${((left / this.#longest) * 100).toFixed(1)}%`);
  }
}
