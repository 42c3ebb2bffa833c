// One WebRTC call: the microphone, the connection, the two event channels. Knows nothing of the page.
//
// Events: "state" (detail: one of the states below), "oai" and "gateway" (detail: the message), "caller" and "agent"
// (detail: the MediaStream), "playout" (detail: seconds), "wavering" (detail: boolean), "over" (detail: {reason, bad}).

import { ask, keyed } from "./api.js";

export const STATES = ["microphone", "connecting", "live", "over"];
const GATHER_MS = 1000;
const CONNECT_MS = 15_000;
const REPORT_MS = 2000;

export class Call extends EventTarget {
  #pc = null;
  #mic = null;
  #gateway = null;
  #location = null;
  #timers = [];
  #waiting = new AbortController();

  /** `deviceDelay()`: seconds between the browser handing over a sample and its being heard. */
  constructor(route, deviceDelay) {
    super();
    this.route = route;
    this.deviceDelay = deviceDelay;
    this.state = null;
  }

  /** Never throws: what goes wrong ends the call with a reason. */
  async start() {
    try {
      await this.#start();
    } catch (error) {
      if (this.state !== "over") this.#end(error.message, true);
    }
  }

  mute(muted) {
    for (const track of this.#mic?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** What became of it is told on the gateway channel: `mode`, or `mode_kept`. */
  changeMode(mode) {
    this.#send({ type: "mode", mode });
  }

  hangUp() {
    this.#end("You hung up.", false);
  }

  async #start() {
    this.#to("microphone");
    const mic = await microphone();
    if (this.state === "over") return stopTracks(mic);
    this.#mic = mic;
    this.#tell("caller", mic);
    this.#to("connecting");
    const pc = (this.#pc = this.#connection());
    for (const track of mic.getTracks()) pc.addTrack(track, mic);
    this.#listen(pc.createDataChannel("oai-events"), "oai");
    this.#gateway = this.#listen(pc.createDataChannel("gateway"), "gateway");
    pc.setConfiguration({ iceServers: await iceServers() });
    if (this.state === "over") return undefined;
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc);
    if (this.state === "over") return undefined;
    await pc.setRemoteDescription({ type: "answer", sdp: await this.#offer(pc.localDescription.sdp) });
    this.#timers.push(
      setTimeout(() => {
        if (this.state === "connecting")
          this.#end(
            "The call was accepted, but no audio path to the gateway was found. A firewall or a wrong media address in routes.yaml are the usual causes.",
            true,
          );
      }, CONNECT_MS),
    );
    return undefined;
  }

  async #offer(sdp) {
    const response = await ask(`/v1/realtime/calls?model=${encodeURIComponent(this.route)}`, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: sdp,
      signal: this.#waiting.signal,
    });
    this.#location = response.headers.get("Location");
    return response.text();
  }

  #connection() {
    const pc = new RTCPeerConnection();
    pc.addEventListener("track", ({ track, streams }) => this.#tell("agent", streams[0] ?? new MediaStream([track])));
    pc.addEventListener("connectionstatechange", () => {
      if (this.state === "over") return;
      this.#tell("wavering", pc.connectionState === "disconnected");
      if (pc.connectionState === "connected") this.#live();
      if (pc.connectionState === "failed") this.#end("The connection was lost.", true);
    });
    return pc;
  }

  #live() {
    if (this.state === "live") return;
    this.#to("live");
    const report = playoutDelay(this.#pc);
    this.#timers.push(
      setInterval(async () => {
        const buffered = await report();
        if (buffered === null || this.state !== "live") return;
        const seconds = buffered + this.deviceDelay();
        this.#send({ type: "playout_delay", seconds: Math.round(seconds * 1000) / 1000 });
        this.#tell("playout", seconds);
      }, REPORT_MS),
    );
  }

  #listen(channel, name) {
    channel.addEventListener("message", ({ data }) => {
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return; // Not ours to interpret.
      }
      this.#tell(name, message);
      if (name === "gateway" && message.type === "ended")
        this.#ended(`The gateway ended the call: ${message.reason}.`, false);
    });
    channel.addEventListener("close", () => this.#ended("The gateway closed the call.", true));
    return channel;
  }

  #send(message) {
    if (this.#gateway?.readyState === "open") this.#gateway.send(JSON.stringify(message));
  }

  /** The gateway has ended it: nothing is left there to delete. */
  #ended(reason, bad) {
    this.#location = null;
    this.#end(reason, bad);
  }

  #end(reason, bad) {
    if (this.state === "over") return;
    this.#to("over");
    this.#waiting.abort();
    for (const timer of this.#timers) clearInterval(timer);
    stopTracks(this.#mic);
    this.#release();
    this.#tell("over", { reason, bad });
  }

  /** By HTTP, and only then the connection: closed first, the gateway would find the call gone when it is told. */
  async #release() {
    try {
      // keepalive: it is still sent when the page is on its way out.
      if (this.#location) await fetch(this.#location, keyed({ method: "DELETE", keepalive: true }));
    } catch {
      // The gateway is away; it will notice.
    }
    this.#pc?.close();
  }

  #to(state) {
    this.state = state;
    this.#tell("state", state);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function stopTracks(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

async function microphone() {
  if (!isSecureContext || !navigator.mediaDevices) {
    throw new Error(
      "Browsers give a microphone only to secure pages. Open this page by https (trunkline serve --tls-cert … --tls-key …), or as http://localhost on this machine.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
  } catch (error) {
    throw new Error(MICROPHONE[error.name] ?? `The microphone could not be opened (${error.name}).`);
  }
}

const MICROPHONE = {
  NotAllowedError: "The microphone was refused. Allow it for this page in the browser’s address bar, then call again.",
  SecurityError: "The browser’s settings keep the microphone from this page.",
  NotFoundError: "No microphone was found. Plug one in, or choose one in the system’s sound settings, then call again.",
  OverconstrainedError: "No microphone was found that can be used here.",
  NotReadableError: "The microphone is there but could not be opened: another program may be holding it.",
  AbortError: "The microphone could not be started. Try again.",
};

/** Those the gateway names; none where it cannot say, since most callers need none. */
async function iceServers() {
  try {
    return (await (await ask("/v1/realtime/ice_servers")).json()).ice_servers;
  } catch {
    return [];
  }
}

/** Resolves when all addresses are in the offer, or after a second with those that are. */
function gathered(pc) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    const check = () => {
      if (pc.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    };
    pc.addEventListener("icegatheringstatechange", check);
    check();
  });
}

/** Seconds that audio waited in the jitter buffer since the last asking; null when none came. */
function playoutDelay(pc) {
  let before = { delay: 0, count: 0 };
  return async () => {
    for (const report of (await pc.getStats()).values()) {
      if (report.type !== "inbound-rtp" || report.kind !== "audio") continue;
      const now = { delay: report.jitterBufferDelay ?? 0, count: report.jitterBufferEmittedCount ?? 0 };
      const [delay, count] = [now.delay - before.delay, now.count - before.count];
      before = now;
      return count > 0 ? delay / count : null;
    }
    return null;
  };
}
