// The operations view: routes and decisions beside each other, fed by the gateway's live feed while somebody looks.

import { ask, Refusal, UNREACHABLE } from "./api.js";
import { DecisionsPanel, SHOWN } from "./decisions.js";
import { byId, notify } from "./dom.js";
import { RoutesPanel } from "./routes.js";
import { named } from "./sse.js";

const AGAIN_MS = 5000;
const SOON_MS = 2000;
const VIEWS = { "#routes": "routes", "#decisions": "routes" };

export class Operations {
  #leaving = null;
  #timer = 0;
  #filling = 0;

  constructor() {
    this.routes = new RoutesPanel();
    this.decisions = new DecisionsPanel(() => this.#fill());
    this.notice = byId("routes-notice");
    addEventListener("hashchange", () => this.#turn(true));
    document.addEventListener("visibilitychange", () => this.#attend());
    this.#turn(false);
  }

  get shown() {
    return document.body.dataset.view === "routes";
  }

  /** With another key than before. */
  again() {
    if (this.#leaving) this.#listen();
  }

  toggle() {
    this.go(this.shown ? "#call" : "#routes");
  }

  /** To the view that has this in it, at once: setting the address would tell us only later. */
  go(place, focus = true) {
    history.pushState(null, "", place);
    this.#turn(focus);
  }

  #turn(focus) {
    document.body.dataset.view = VIEWS[location.hash] ?? "talk";
    for (const link of document.querySelectorAll("nav a")) {
      const here = (link.hash === "#routes") === this.shown;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    // What the address names was hidden when the browser went to it.
    if (focus && location.hash) document.querySelector(`section${location.hash}`)?.focus();
    this.#attend();
  }

  /** Listens only while somebody looks: a browser has six connections to a host, and the gateway so many places. */
  #attend() {
    const wanted = this.shown && !document.hidden;
    if (wanted && !this.#leaving) this.#listen();
    if (!wanted) this.#leave();
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#leaving?.abort();
    this.#leaving = null;
  }

  /** By fetch, since an EventSource can carry no key. */
  async #listen() {
    this.#leave();
    const leaving = (this.#leaving = new AbortController());
    try {
      const { body } = await ask("/v1/telemetry", { signal: leaving.signal, cache: "no-store" });
      this.#fill();
      for await (const { event, data } of named(body)) this.#take(event, JSON.parse(data));
      throw new Refusal(UNREACHABLE);
    } catch (error) {
      if (leaving === this.#leaving) this.#lost(error);
    }
  }

  #take(event, told) {
    if (event === "standing") {
      notify(this.notice, "");
      this.routes.show(told);
      this.decisions.routes(this.routes.names);
    } else if (event === "decision") {
      this.decisions.add(told);
    } else if (event === "skipped") {
      this.decisions.skipped(told.decisions);
    }
  }

  #lost(error) {
    this.routes.stale("Not live");
    const told = {
      503: "The gateway refused the live feed: too many may be listening. Trying again every 5 seconds.",
      401: error.message,
      403: error.message,
    };
    notify(
      this.notice,
      told[error.status] ?? "The gateway cannot be reached. What is shown is what it last said.",
      "warn",
    );
    this.#timer = setTimeout(() => this.#listen(), error.status ? AGAIN_MS : SOON_MS);
  }

  async #fill() {
    const filling = ++this.#filling;
    const query = new URLSearchParams({ limit: SHOWN });
    if (this.decisions.route.value) query.set("route", this.decisions.route.value);
    try {
      const { data } = await (await ask(`/v1/telemetry/decisions?${query}`)).json();
      if (filling === this.#filling) this.decisions.fill(data);
    } catch (error) {
      notify(this.notice, error.message, "warn");
    }
  }
}
