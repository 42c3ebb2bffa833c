// The operations view: routes and decisions beside each other, fed by the gateway's live feed while somebody looks.

import { ask } from "./api.js";
import { DecisionsPanel, SHOWN } from "./decisions.js";
import { byId, notify } from "./dom.js";
import { RoutesPanel } from "./routes.js";

const AGAIN_MS = 5000;
const VIEWS = { "#routes": "routes", "#decisions": "routes" };

export class Operations {
  #source = null;
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
    if (wanted && !this.#source) this.#listen();
    if (!wanted) this.#leave();
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #listen() {
    this.#leave();
    const source = (this.#source = new EventSource("/v1/telemetry"));
    const on = (name, act) => source.addEventListener(name, ({ data }) => act(JSON.parse(data)));
    source.addEventListener("open", () => this.#fill());
    on("standing", (standing) => {
      notify(this.notice, "");
      this.routes.show(standing);
      this.decisions.routes(this.routes.names);
    });
    on("decision", (decision) => this.decisions.add(decision));
    on("skipped", ({ decisions }) => this.decisions.skipped(decisions));
    source.addEventListener("error", () => this.#lost(source));
  }

  async #lost(source) {
    if (source !== this.#source) return;
    this.routes.stale("Not live");
    const refused = source.readyState === EventSource.CLOSED;
    notify(
      this.notice,
      refused
        ? "The gateway refused the live feed: too many may be listening. Trying again every 5 seconds."
        : "The gateway cannot be reached. What is shown is what it last said.",
      "warn",
    );
    if (refused) this.#timer = setTimeout(() => this.#listen(), AGAIN_MS);
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
