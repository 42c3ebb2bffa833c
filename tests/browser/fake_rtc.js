// Stands in for RTCPeerConnection: the test says what comes over the channels, at `window.peer`.
window.RTCPeerConnection = class extends EventTarget {
  connectionState = "new";
  iceGatheringState = "complete";
  localDescription = null;
  channels = {};
  buffered = { jitterBufferDelay: 0, jitterBufferEmittedCount: 0 };

  constructor(settings) {
    super();
    this.settings = settings;
    window.peer = this;
  }

  setConfiguration(settings) {
    this.settings = settings;
  }
  addTrack(track) {
    this.track = track;
  }
  async createOffer() {
    return { type: "offer", sdp: "v=0 offer" };
  }
  async setLocalDescription(description) {
    this.localDescription = description;
  }
  async setRemoteDescription() {
    this.turnTo("connected");
  }
  async getStats() {
    this.buffered.jitterBufferDelay += 4.8;
    this.buffered.jitterBufferEmittedCount += 96;
    return new Map([["a", { type: "inbound-rtp", kind: "audio", ...this.buffered }]]);
  }

  createDataChannel(label) {
    const channel = new EventTarget();
    channel.readyState = "open";
    channel.sent = [];
    channel.send = (text) => channel.sent.push(JSON.parse(text));
    return (this.channels[label] = channel);
  }

  close() {
    this.connectionState = "closed";
  }

  turnTo(state) {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  say(label, ...messages) {
    for (const message of messages) {
      this.channels[label].dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
    }
  }
};
