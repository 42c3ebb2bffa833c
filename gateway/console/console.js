// The console's entry: what the gateway is doing, its routes, the panels, the keys.

import { readiness, routes, useKey } from "./api.js";
import { CallPanel } from "./callpanel.js";
import { ChatPanel } from "./chat.js";
import { byId, el, notify, setText } from "./dom.js";
import { Operations } from "./operations.js";

const SOON_MS = 1500;
const LATER_MS = 15_000;

class Console {
  #routes = [];
  #listed = false;

  constructor() {
    this.call = new CallPanel();
    this.chat = new ChatPanel();
    this.operations = new Operations();
    this.status = byId("status");
    this.warming = [];
    this.call.route.addEventListener("change", () => this.#fit());
    this.chat.route.addEventListener("change", () => this.#fit());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.watch();
    });
    addEventListener("keyneeded", ({ detail: had }) => this.#askForKey(had));
    byId("key-form").addEventListener("submit", (event) => this.#takeKey(event));
    addEventListener("keydown", (event) => this.#key(event));
    const keys = byId("keys-on");
    keys.checked = localStorage.getItem("keys") !== "off";
    keys.addEventListener("change", () => localStorage.setItem("keys", keys.checked ? "on" : "off"));
  }

  #askForKey(had) {
    const form = byId("key-form");
    if (!form.hidden) return;
    form.hidden = false;
    setText(byId("key-told"), had ? "The last one is not good (any more)." : "");
    byId("key").focus();
  }

  #takeKey(event) {
    event.preventDefault();
    useKey(byId("key").value.trim());
    byId("key").value = "";
    byId("key-form").hidden = true;
    this.operations.again();
    this.watch();
  }

  /** Ask how the gateway is, and again: soon while something is warming or away, later when all is well. */
  async watch() {
    clearTimeout(this.timer);
    let again = SOON_MS;
    try {
      const { ready, warm } = await readiness();
      const pick = (test) =>
        Object.entries(warm)
          .filter(([, state]) => test(state))
          .map(([target]) => target);
      const failed = pick((state) => state.startsWith("failed"));
      this.warming = pick((state) => state === "warming");
      if (!this.#listed) await this.#list();
      if (ready && this.warming.length === 0) again = LATER_MS;
      this.#say(ready, failed, warm);
    } catch (error) {
      this.status.dataset.lamp = "bad";
      this.status.title = error.message;
      setText(this.status, error.status === 401 ? "Key needed" : "Gateway away");
    }
    this.#fit();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.watch(), document.hidden ? LATER_MS : again);
  }

  #say(ready, failed, warm) {
    const wait = this.warming.length > 0 || !ready;
    this.status.dataset.lamp = wait ? "wait" : failed.length ? "warn" : "good";
    this.status.title = Object.entries(warm)
      .map(([target, state]) => `${target}: ${state}`)
      .join("\n");
    const names = this.warming.map((target) => target.split("/").at(-1)).join(", ");
    setText(
      this.status,
      names
        ? `Models warming: ${names}`
        : !ready
          ? "Starting…"
          : failed.length
            ? `Failed: ${failed.join(", ")}`
            : "Ready",
    );
  }

  async #list() {
    this.#routes = await routes();
    this.#listed = true;
    fill(
      this.call.route,
      this.#routes.filter(({ kind }) => kind === "call"),
      "no call route",
    );
    fill(
      this.chat.route,
      this.#routes.filter(({ kind }) => kind === "llm"),
      "no llm route",
    );
  }

  /** Buttons and notices as the chosen routes and the warming models allow. */
  #fit() {
    const known = (select) => this.#routes.find(({ id }) => id === select.value);
    const [call, chat] = [known(this.call.route), known(this.chat.route)];
    this.call.startButton.disabled = !call || Boolean(call.asleep);
    this.chat.sendButton.disabled = !chat || Boolean(chat.asleep);
    if (!this.call.busy) tell(this.call.notice, call, this.warming, "Call");
    tell(this.chat.notice, chat, this.warming, "Send");
  }

  #key(event) {
    if (event.key === "Escape") return this.chat.stop();
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !byId("keys-on").checked) return undefined;
    const act = {
      c: () => this.call.start(),
      m: () => this.call.toggleMute(),
      h: () => this.call.hangUp(),
      "/": () => {
        if (this.operations.shown) this.operations.go("#chat", false);
        byId("chat-text").focus();
      },
      r: () => this.operations.toggle(),
    }[event.key.toLowerCase()];
    if (!act) return undefined;
    event.preventDefault();
    return act();
  }
}

function fill(select, list, none) {
  select.replaceChildren(...list.map(({ id, asleep }) => el("option", { value: id }, asleep ? `${id} (asleep)` : id)));
  if (list.length === 0) select.append(el("option", { value: "" }, none));
  select.value = (list.find(({ asleep }) => !asleep) ?? list[0])?.id ?? "";
  select.disabled = list.length === 0;
}

/** Says why a route cannot serve or will be slow, and takes back only what was said here. */
function tell(notice, route, warming, verb) {
  const standing = notice.dataset.standing ?? "";
  if (notice.textContent && notice.textContent !== standing) return;
  const waiting = warming.filter((target) => !route || route.targets.includes(target));
  let text = "";
  if (route?.asleep) text = `Route ${route.id} is asleep: ${route.asleep}`;
  else if (waiting.length)
    text = `Still warming: ${waiting.join(", ")}. ${verb} works already; the first answer will take longer.`;
  notice.dataset.standing = text;
  notify(notice, text, "warn");
}

new Console().watch();
