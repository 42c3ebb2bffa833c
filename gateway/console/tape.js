// The levels of a call as a tape: the caller above the line, the agent below, the last seconds scrolling by.

const STEP = 1 / 16; // seconds of a column
const COLUMN = 3; // its width in CSS pixels, gap included
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

export class Tape {
  #context = null;
  #taps = { caller: null, agent: null };
  #columns = [];
  #frame = 0;
  #last = 0;

  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Seconds that the device itself takes to play, where the browser says so. */
  get deviceDelay() {
    return this.#context?.outputLatency || this.#context?.baseLatency || 0.03;
  }

  /** Call from a click: browsers start audio only then. */
  start() {
    this.stop();
    this.#columns = [];
    this.#context = new AudioContext();
    this.#context.resume().catch(() => {});
    this.#last = performance.now();
    this.#frame = requestAnimationFrame((now) => this.#tick(now));
  }

  listen(who, stream) {
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 2048;
    this.#context.createMediaStreamSource(stream).connect(analyser);
    this.#taps[who] = { analyser, samples: new Float32Array(analyser.fftSize) };
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#context?.close().catch(() => {});
    this.#context = null;
    this.#taps = { caller: null, agent: null };
  }

  #tick(now) {
    const due = CALM.matches ? 250 : STEP * 1000;
    if (now - this.#last >= due) {
      this.#last = now - ((now - this.#last) % due);
      this.#columns.push([level(this.#taps.caller), level(this.#taps.agent)]);
      if (this.#columns.length > 2000) this.#columns.splice(0, 1000);
      this.#draw();
    }
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
  }

  #draw() {
    const { canvas } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio || 1;
    if (width === 0) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const style = getComputedStyle(canvas);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const middle = height / 2;
    pen.fillStyle = style.getPropertyValue("--line");
    pen.fillRect(0, middle - 0.5, width, 1);
    // Calm: two bars that stand still. Else: as many columns as fit, the newest at the right.
    const shown = CALM.matches ? this.#columns.slice(-1) : this.#columns.slice(-Math.floor(width / COLUMN));
    shown.forEach((pair, index) => {
      const x = CALM.matches ? 0 : width - (shown.length - index) * COLUMN;
      pair.forEach((part, side) => {
        pen.fillStyle = style.getPropertyValue(side === 0 ? "--caller" : "--agent");
        const reach = part * (middle - 3);
        if (CALM.matches) pen.fillRect(0, side === 0 ? middle - 9 : middle + 3, part * width, 6);
        else if (reach > 0.4) pen.fillRect(x, side === 0 ? middle - 1 - reach : middle + 1, COLUMN - 1, reach);
      });
    });
  }
}

/** 0 at -60 dBFS and below, 1 at -6 dBFS and above. */
function level(tap) {
  if (!tap) return 0;
  tap.analyser.getFloatTimeDomainData(tap.samples);
  let sum = 0;
  for (const sample of tap.samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / tap.samples.length + 1e-12);
  return Math.min(1, Math.max(0, (decibels + 60) / 54));
}
