// The Call panel: buttons and figures around a Call, its Conversation, and the transcript that shows it.

import { Call } from "./call.js";
import { Conversation } from "./conversation.js";
import { byId, ms, notify, setText } from "./dom.js";
import { Tape } from "./tape.js";
import { Transcript } from "./transcript.js";
import { median } from "./waterfall.js";

const DOING = { microphone: "Waiting for the microphone…", connecting: "Connecting…", over: "Not on a call" };

export class CallPanel {
  #call = null;
  #muted = false;
  #since = 0;
  #mode = "";
  #modes = [];
  #clock = 0;

  constructor() {
    this.route = byId("call-route");
    this.startButton = byId("call-start");
    this.muteButton = byId("call-mute");
    this.endButton = byId("call-end");
    this.modeButton = byId("call-mode");
    this.state = byId("call-state");
    this.empty = byId("call-empty");
    this.notice = byId("call-notice");
    this.audio = byId("agent-audio");
    this.tape = new Tape(byId("tape"));
    this.transcript = new Transcript(byId("exchanges"), byId("log"), (text) => setText(byId("announce"), text));
    this.startButton.addEventListener("click", () => this.start());
    this.muteButton.addEventListener("click", () => this.toggleMute());
    this.modeButton.addEventListener("click", () => this.changeMode());
    this.endButton.addEventListener("click", () => this.hangUp());
    addEventListener("pagehide", () => this.#call?.hangUp());
  }

  get busy() {
    return this.#call !== null;
  }

  async start() {
    if (this.busy || this.startButton.disabled) return;
    notify(this.notice, "");
    this.transcript.clear();
    setText(this.empty, "");
    this.empty.hidden = false;
    byId("legend").open = false;
    this.tape.start();
    const conversation = new Conversation({
      changed: (exchange) => {
        this.empty.hidden = true;
        this.transcript.show(exchange);
        this.#count(conversation.turns);
      },
      removed: (exchange) => this.transcript.remove(exchange),
    });
    this.#count([]);
    setText(byId("figure-playout"), "–");
    this.#call = new Call(this.route.value, () => this.tape.deviceDelay);
    this.#connect(this.#call, conversation);
    await this.#call.start();
  }

  hangUp() {
    this.#call?.hangUp();
  }

  toggleMute() {
    if (!this.busy) return;
    this.#muted = !this.#muted;
    this.#call.mute(this.#muted);
    this.muteButton.setAttribute("aria-pressed", String(this.#muted));
    setText(this.muteButton, this.#muted ? "Unmute" : "Mute");
    this.#tick();
  }

  /** To the other mode; the button waits until the gateway has said what became of it. */
  changeMode() {
    if (!this.busy || !this.#other) return;
    this.modeButton.disabled = true;
    this.#call.changeMode(this.#other);
  }

  get #other() {
    return this.#modes.find((mode) => mode !== this.#mode);
  }

  #heardOfMode(message) {
    if (message.type === "call") this.#modes = message.modes ?? [];
    if (message.type !== "mode_kept") this.#mode = message.mode;
    if (message.type === "mode") {
      const gap = `${ms(message.seconds)} ms`;
      notify(this.notice, `The call is ${message.mode} now (${message.route}, after ${gap}): ${message.reason}.`, "note");
    }
    if (message.type === "mode_kept") {
      notify(this.notice, `The call stays ${message.mode}: ${message.reason}.`, "warn");
    }
    this.modeButton.disabled = false;
    this.modeButton.hidden = !this.busy || !this.#other;
    if (this.#other) setText(this.modeButton, `Change to ${this.#other}`);
    this.#tick();
  }

  #connect(call, conversation) {
    const on = (name, act) => call.addEventListener(name, ({ detail }) => act(detail));
    on("state", (state) => this.#show(state));
    on("caller", (stream) => this.tape.listen("caller", stream));
    on("agent", (stream) => this.#hear(stream));
    on("oai", (event) => conversation.oai(event));
    on("gateway", (message) => {
      if (["call", "mode", "mode_kept"].includes(message.type)) this.#heardOfMode(message);
      conversation.gateway(message);
    });
    on("playout", (seconds) => setText(byId("figure-playout"), `${ms(seconds)} ms`));
    on("wavering", (wavering) =>
      notify(this.notice, wavering ? "The connection is interrupted. Waiting for it to come back…" : "", "warn"),
    );
    on("over", ({ reason, bad }) => this.#over(reason, bad));
  }

  #hear(stream) {
    this.tape.listen("agent", stream);
    this.audio.srcObject = stream;
    this.audio
      .play()
      .catch(() =>
        notify(
          this.notice,
          "The browser keeps the agent’s voice silent. Click anywhere on the page to hear it.",
          "warn",
        ),
      );
    addEventListener("click", () => this.audio.play().catch(() => {}), { once: true });
  }

  #show(state) {
    const [focused, idle] = [document.activeElement, state === "over"];
    this.startButton.hidden = !idle;
    this.muteButton.hidden = idle;
    this.endButton.hidden = idle;
    this.route.disabled = !idle;
    setText(this.endButton, state === "live" ? "Hang up" : "Cancel");
    document.body.classList.toggle("on-call", !idle);
    // The pressed button is gone: the focus goes to what took its place (not to Hang up, where a second press would end it).
    if (focused === this.startButton) this.muteButton.focus();
    if (idle && [this.muteButton, this.endButton].includes(focused)) this.startButton.focus();
    clearInterval(this.#clock);
    if (state === "live") {
      this.#since = performance.now();
      setText(this.empty, "Listening. Say something.");
      this.#clock = setInterval(() => this.#tick(), 1000);
      this.#tick();
    } else {
      setText(this.state, DOING[state]);
    }
  }

  #tick() {
    if (this.#call?.state !== "live") return;
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    setText(this.state, [`On a call ${time}`, this.#mode, this.#muted ? "muted" : ""].filter(Boolean).join(" · "));
  }

  #over(reason, bad) {
    notify(this.notice, reason, bad ? "bad" : "note");
    this.tape.stop();
    this.audio.srcObject = null;
    setText(this.empty, "");
    this.#call = null;
    this.#mode = "";
    this.#modes = [];
    this.modeButton.hidden = true;
    if (this.#muted) {
      this.#muted = false;
      this.muteButton.setAttribute("aria-pressed", "false");
      setText(this.muteButton, "Mute");
    }
  }

  #count(turns) {
    const last = turns.findLast((turn) => Number.isFinite(turn.e2e_latency));
    setText(byId("figure-last"), last ? `${ms(last.e2e_latency)} ms` : "–");
    setText(byId("figure-median"), last ? `${ms(median(turns))} ms` : "–");
    setText(byId("figure-turns"), String(turns.length));
  }
}
