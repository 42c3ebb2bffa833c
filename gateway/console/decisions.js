// The Decisions panel: the latest requests, newest first; opened, one tells who was considered, who was left out and why,
// who was tried, and how it went.

import { byId, el, ms, setText, svg } from "./dom.js";

export const SHOWN = 100;
const FINE = new Set(["ok", "lost", "cancelled", "open"]);
const WORDS = { open: "under way", cancelled: "caller left", untried: "nobody was asked" };
const SPANS = [0.1, 0.2, 0.4, 0.6, 1, 1.6, 2.4, 4, 6, 10, 16, 30, 60, 120, 300, 600];

/** Seconds from the decision to the first useful event, or null. Pure. */
export function waited({ tried, chosen }) {
  const served = tried.findLast(({ target, ttft, outcome }) => target === chosen && ttft !== null && outcome !== "lost");
  return served ? served.at + served.ttft : null;
}

/** What did not go straight, in a word each. Pure. */
export function troubles({ tried, chosen }) {
  const count = (why) => tried.filter((each) => each.why === why).length;
  const won = tried.some(({ why, target, outcome }) => why === "hedge" && target === chosen && outcome !== "lost");
  return [
    count("hedge") && (won ? "hedge won" : "hedged"),
    count("retry") && "retried",
    count("fallback") && "fell back",
    count("continue") && "continued",
    count("shadow") && "shadowed",
    count("probe") && "probe",
  ].filter(Boolean);
}

export class DecisionsPanel {
  #rows = new Map(); // id -> Row, oldest first
  #waiting = [];
  #frame = 0;

  /** `refill`: asks for the log again, since it is filtered by route where it lies. */
  constructor(refill) {
    this.list = byId("decisions-list");
    this.empty = byId("decisions-empty");
    this.route = byId("decisions-route");
    this.trouble = byId("decisions-trouble");
    this.pauseButton = byId("decisions-pause");
    this.route.addEventListener("change", refill);
    this.trouble.addEventListener("change", () => this.#sift());
    this.pauseButton.addEventListener("click", () => this.pause(!this.paused));
  }

  get paused() {
    return this.pauseButton.getAttribute("aria-pressed") === "true";
  }

  pause(paused) {
    this.pauseButton.setAttribute("aria-pressed", String(paused));
    if (!paused) this.#draw();
    this.#tell();
  }

  /** The log as it is now, newest first, instead of what is shown; open rows stay open. */
  fill(decisions) {
    const open = new Set([...this.#rows].filter(([, { node }]) => node.firstChild.open).map(([id]) => id));
    const [logged, newest] = [new Set(decisions.map(({ id }) => id)), decisions[0]?.at ?? 0];
    // The feed may have been ahead of the log's answer.
    const ahead = [...[...this.#rows.values()].map(({ decision }) => decision), ...this.#waiting].filter(
      ({ id, at }) => at > newest && !logged.has(id),
    );
    this.#rows.clear();
    this.list.replaceChildren();
    this.#waiting = [...decisions.toReversed(), ...ahead];
    this.#draw();
    for (const id of open) if (this.#rows.has(id)) this.#rows.get(id).node.firstChild.open = true;
  }

  /** A decision that is over. Drawn with the next frame, so that hundreds in a second cost no more than the rows shown. */
  add(decision) {
    this.#waiting.push(decision);
    if (this.#waiting.length > 2 * SHOWN) this.#waiting.splice(0, SHOWN);
    if (this.paused) return this.#tell();
    this.#frame ||= requestAnimationFrame(() => this.#draw());
    return undefined;
  }

  skipped(count) {
    const words = `${count} decisions came too fast to be shown`;
    if (!this.paused) this.list.prepend(el("li", { class: "gap" }, words));
  }

  routes(names) {
    const wanted = ["", ...names];
    if (wanted.join("\n") === this.names) return;
    this.names = wanted.join("\n");
    const chosen = this.route.value;
    this.route.replaceChildren(...wanted.map((name) => el("option", { value: name }, name || "every route")));
    this.route.value = wanted.includes(chosen) ? chosen : "";
  }

  #draw() {
    this.#frame = 0;
    for (const decision of this.#waiting.splice(0).slice(-SHOWN)) {
      if (this.route.value && decision.route !== this.route.value) continue;
      const known = this.#rows.get(decision.id);
      if (known) {
        known.show(decision);
        continue;
      }
      const row = new Row(decision);
      this.#rows.set(decision.id, row);
      this.list.prepend(row.node);
    }
    for (const [id, { node }] of this.#rows) {
      if (this.#rows.size <= SHOWN) break;
      if (node.contains(document.activeElement) || node.firstChild.open) continue; // someone is reading it
      node.remove();
      this.#rows.delete(id);
    }
    for (const gap of [...this.list.querySelectorAll(".gap")].slice(3)) gap.remove();
    this.#sift();
  }

  #sift() {
    for (const { node, straight } of this.#rows.values()) node.hidden = this.trouble.checked && straight;
    this.empty.hidden = [...this.#rows.values()].some(({ node }) => !node.hidden);
    setText(this.empty, this.trouble.checked ? "No trouble among the latest requests." : "No request yet.");
  }

  #tell() {
    const more = this.#waiting.length;
    setText(this.pauseButton, this.paused ? `Resume${more ? ` (${more} new)` : ""}` : "Pause");
  }
}

/** `straight`: it went well at the first try. */
class Row {
  constructor(decision) {
    this.when = el("time", { class: "when" });
    this.route = el("span", { class: "route-name" });
    this.chosen = el("span", { class: "chosen" });
    this.wait = el("span", { class: "wait" });
    this.badges = el("span", { class: "badges" });
    this.inside = el("div", { class: "inside" });
    const summary = el("summary", {}, this.when, this.route, this.chosen, this.wait, this.badges);
    const details = el("details", { class: "decision" }, summary, this.inside);
    // Most are never opened: what is inside is built when one is.
    details.addEventListener("toggle", () => details.open && this.#fill());
    this.node = el("li", {}, details);
    this.show(decision);
  }

  show(decision) {
    this.decision = decision;
    const { outcome, kind, route, chosen, at } = decision;
    const wait = waited(decision);
    this.straight = outcome === "ok" && decision.tried.filter(({ why }) => why !== "shadow").length === 1;
    const date = new Date(at * 1000);
    this.when.dateTime = date.toISOString();
    setText(this.when, date.toLocaleTimeString([], { hour12: false }));
    this.route.dataset.stage = kind;
    setText(this.route, route);
    const probed = decision.order === "probe" ? decision.candidates[0]?.target : null;
    setText(this.chosen, chosen ?? probed ?? (outcome === "open" ? "…" : "no answer"));
    setText(this.wait, wait === null ? "" : `${ms(wait)} ms`);
    const bad = !FINE.has(outcome);
    const out = decision.candidates.filter(({ excluded }) => excluded).length;
    this.badges.replaceChildren(
      ...troubles(decision).map((word) => el("span", { class: "badge" }, word)),
      ...(outcome === "ok" ? [] : [el("span", { class: bad ? "badge bad" : "badge" }, worded(outcome))]),
      ...(out ? [el("span", { class: "badge plain" }, `${out} left out`)] : []),
    );
    if (this.node.firstChild.open) this.#fill();
  }

  #fill() {
    this.inside.replaceChildren(considered(this.decision), ...attempts(this.decision));
  }
}

const worded = (outcome) => WORDS[outcome] ?? outcome.replaceAll("_", " ");

function considered({ candidates, chosen, order }) {
  const ranked = candidates.filter(({ excluded }) => !excluded);
  const cell = (text, name) => el("td", { class: name, role: "cell" }, text);
  const head = (text, name) => el("th", { scope: "col", class: name, role: "columnheader" }, text);
  const rows = [...ranked, ...candidates.filter(({ excluded }) => excluded)].map((each, index) =>
    el(
      "tr",
      { class: each.excluded ? "out" : each.target === chosen ? "picked" : null, role: "row" },
      cell(each.excluded ? "–" : String(index + 1), "rank"),
      cell(each.target, "mono"),
      ...(each.excluded
        ? [el("td", { colspan: 2, class: "reason", role: "cell" }, each.excluded)]
        : [
            cell(Number.isFinite(each.score) ? each.score.toPrecision(3) : "–", "figure"),
            cell(Number.isFinite(each.ttft) ? `${ms(each.ttft)} ms` : "–", "figure"),
          ]),
    ),
  );
  return el(
    "table",
    { class: "considered", role: "table" },
    el("caption", {}, `Considered, by ${order}; the lowest score goes first`),
    el(
      "thead",
      { role: "rowgroup" },
      el("tr", { role: "row" }, head("", "rank"), head("target"), head("score", "figure"), head("expected", "figure")),
    ),
    el("tbody", { role: "rowgroup" }, ...rows),
  );
}

/** Each attempt as a bar on one axis of time, its first useful event as a dot. */
function attempts({ tried, kind, id }) {
  if (tried.length === 0) return [];
  const longest = Math.max(...tried.map(({ at, duration, ttft }) => at + (duration ?? ttft ?? 0)));
  const span = SPANS.find((each) => each >= longest) ?? Math.ceil(longest);
  const part = (time) => `${Math.min(100, (Math.max(0, time) / span) * 100).toFixed(2)}%`;
  const lines = tried.map((each) => {
    const { at, duration, ttft, why, target, outcome, error } = each;
    const tone = !outcome || FINE.has(outcome) ? (outcome === "lost" ? "lost" : "") : "bad";
    const bar = svg("rect", { class: "bar", x: part(at), width: part(duration ?? 0), y: 5, height: 8, rx: 2 });
    const dot = ttft === null ? [] : [svg("circle", { class: "dot", cx: part(at + ttft), cy: 9, r: 3.5 })];
    const told = [worded(outcome ?? "open"), error, ttft !== null && `first after ${ms(ttft)} ms`].filter(Boolean);
    return el(
      "li",
      { class: "attempt", "data-tone": tone, "data-stage": kind },
      el("p", { class: "attempt-who" }, el("b", {}, why), " ", target),
      svg("svg", { class: "attempt-bar", height: 18, "aria-hidden": "true" }, bar, ...dot),
      el("p", { class: "attempt-how" }, `at ${ms(at)} ms: ${told.join(", ")}`),
    );
  });
  return [
    el("p", { class: "attempts-title" }, `Tried, over ${ms(span)} ms`),
    el("ol", { class: "attempts" }, ...lines),
    el("p", { class: "decision-id" }, `decision ${id}`),
  ];
}
