// A line of TTFTs over the last minutes, failures as ticks below it. `trace` is pure.

import { el, ms, svg } from "./dom.js";

const HEIGHT = 30;
const FLOOR = 25; // the line's zero; below it are the failures
const TOPS = [0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5, 8, 12, 20, 30, 60];

/** A round number of seconds that none of these series passes: what targets of one route are drawn against. */
export function top(series) {
  const highest = Math.max(0.05, ...series.flat().filter(Number.isFinite));
  return TOPS.find((each) => each >= highest) ?? Math.ceil(highest / 60) * 60;
}

/** SVG paths: neighbouring points joined, and lone ones as dots. Time without requests is a gap, not a guess. */
export function trace(points, highest) {
  const at = (index) => `${index + 0.5} ${(FLOOR - (Math.min(points[index], highest) / highest) * (FLOOR - 2)).toFixed(2)}`;
  let [line, dots] = ["", ""];
  points.forEach((point, index) => {
    if (!Number.isFinite(point)) return;
    if (Number.isFinite(points[index - 1])) line += `L${at(index)}`;
    else if (Number.isFinite(points[index + 1])) line += `M${at(index)}`;
    else dots += `M${at(index)}h.01`;
  });
  return { line, dots };
}

export class Sparkline {
  constructor(stage) {
    this.line = svg("path", { class: "spark-line" });
    this.dots = svg("path", { class: "spark-line dots" });
    this.failures = svg("path", { class: "spark-failures" });
    this.chart = svg(
      "svg",
      { class: "spark", role: "img", "data-stage": stage, preserveAspectRatio: "none" },
      svg("path", { class: "spark-floor" }),
      this.line,
      this.dots,
      this.failures,
    );
    this.node = el("div", { class: "spark-box" }, this.chart);
  }

  /** `points`: seconds or null, oldest first, `step` seconds apart; `failed`: failures in each step. */
  show(points, failed, step, highest) {
    this.chart.setAttribute("viewBox", `0 0 ${points.length} ${HEIGHT}`);
    this.chart.firstElementChild.setAttribute("d", `M0 ${FLOOR}H${points.length}`);
    const { line, dots } = trace(points, highest);
    this.line.setAttribute("d", line);
    this.dots.setAttribute("d", dots);
    this.failures.setAttribute(
      "d",
      failed.map((count, index) => (count ? `M${index + 0.5} ${HEIGHT}V${FLOOR + 1}` : "")).join(""),
    );
    this.chart.setAttribute("aria-label", spoken(points, failed, step));
  }
}

function spoken(points, failed, step) {
  const known = points.filter(Number.isFinite);
  const minutes = Math.round((points.length * step) / 60);
  const failures = failed.reduce((sum, count) => sum + count, 0);
  const told = known.length
    ? `latest ${ms(known.at(-1))}, lowest ${ms(Math.min(...known))}, highest ${ms(Math.max(...known))} milliseconds`
    : "nothing measured";
  return `TTFT over the last ${minutes} minutes: ${told}; ${failures} failed`;
}
