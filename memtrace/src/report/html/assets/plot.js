// A drawing over time with a cursor and a range, for pointers and keyboards.
import { amountLabel, amountTicks, timeLabel, timeTicks } from "./format.js";
import { el, onWidth, svg } from "./dom.js";

const TOP = 26;
const BOTTOM = 24;

/** Path of steps: `y(i)` for each of `count` columns of `width` pixels. */
export function steps(count, width, y) {
  let path = "";
  let before = null;
  for (let i = 0; i < count; i += 1) {
    const at = y(i).toFixed(1);
    if (at === before) continue;
    path += before === null ? `M${i * width} ${at}` : `H${i * width}V${at}`;
    before = at;
  }
  return `${path}H${count * width}`;
}

/** The same back from the right, to close an area. */
export function stepsBack(count, width, y) {
  let path = "";
  let before = null;
  for (let i = count - 1; i >= 0; i -= 1) {
    const at = y(i).toFixed(1);
    if (at === before) continue;
    path += before === null ? `V${at}` : `H${(i + 1) * width}V${at}`;
    before = at;
  }
  return `${path}H0Z`;
}

export class Plot {
  /**
   * `options`: `label`, `height`, `begin` (0 if it is left out), `end`, `step` (of the cursor, ns), `peakAt`, `most` (largest amount),
   * `snap(a, b)` (a range that can be answered), `describe(at)` (words), `paint(plot)` (what to draw).
   */
  constructor(state, options) {
    this.state = state;
    this.options = options;
    this.width = 0;
    this.anchor = null;
    this.svg = svg("svg", { class: "mt-plot", height: options.height, "aria-hidden": "true" });
    this.element = el(
      "div",
      {
        class: "plot",
        tabindex: 0,
        role: "slider",
        "aria-label": options.label,
        "aria-describedby": "keys",
        "aria-valuemin": (options.begin ?? 0) / 1e9,
        "aria-valuemax": options.end / 1e9,
        "aria-orientation": "horizontal",
        keydown: (event) => this.key(event),
        pointerdown: (event) => this.press(event),
        pointermove: (event) => this.move(event),
        pointerup: (event) => this.release(event),
        pointercancel: () => (this.pressed = null),
        pointerleave: () => !this.pressed && state.set({ hover: null }),
        dblclick: () => this.zoomIn(),
      },
      this.svg,
    );
    onWidth(this.element, (width) => {
      this.width = width;
      this.render();
    });
    state.listen((changed) => {
      if (changed.has("zoom")) this.render();
      else if (changed.has("range") || changed.has("hover") || changed.has("pin")) this.overlay();
    });
    this.announce();
  }

  get view() {
    return this.state.zoom ?? [this.begin, this.options.end];
  }

  get begin() {
    return this.options.begin ?? 0;
  }

  get bottom() {
    return this.options.height - BOTTOM;
  }

  x(at) {
    const [from, until] = this.view;
    return ((at - from) / (until - from)) * this.width;
  }

  y(bytes) {
    return this.bottom - (bytes / this.top) * (this.bottom - TOP);
  }

  timeAt(x) {
    const [from, until] = this.view;
    return Math.round(from + (Math.max(0, Math.min(this.width, x)) / this.width) * (until - from));
  }

  render() {
    if (this.width === 0) return;
    const { options, svg: drawing, width } = this;
    drawing.setAttribute("width", width);
    drawing.setAttribute("viewBox", `0 0 ${width} ${options.height}`);
    const most = options.most(this.view);
    const ticks = amountTicks(most + most / 24, Math.max(2, Math.floor((this.bottom - TOP) / 56)));
    this.top = ticks[ticks.length - 1];
    drawing.replaceChildren();
    const add = (...children) => drawing.append(...children);
    for (const bytes of ticks) {
      const y = this.y(bytes);
      add(svg("path", { class: bytes === 0 ? "mt-axis" : "mt-grid", d: `M0 ${y}H${width}` }));
    }
    options.paint(this);
    // Beside the plot where there is room, else in it.
    const inside = matchMedia("(max-width: 860px)").matches;
    for (const bytes of inside ? ticks.slice(1) : ticks) {
      const place = inside ? { x: 4, y: this.y(bytes) + 13 } : { x: -8, y: this.y(bytes) + 4, "text-anchor": "end" };
      add(svg("text", { class: "mt-dim mt-halo", ...place }, amountLabel(bytes)));
    }
    const times = timeTicks(...this.view, width / 96);
    for (const at of times.ticks) {
      const x = this.x(at);
      const anchor = x < 18 ? "start" : x > width - 18 ? "end" : "middle";
      add(svg("path", { class: "mt-axis", d: `M${x} ${this.bottom}v4` }));
      const label = timeLabel(at, times.step);
      add(svg("text", { class: "mt-dim", x, y: this.bottom + 18, "text-anchor": anchor }, label));
    }
    this.brush = svg("rect", { class: "brush", y: TOP - 6, height: this.bottom - TOP + 6 });
    this.shades = [0, 1].map(() => svg("rect", { class: "shade", y: TOP - 6, height: this.bottom - TOP + 6 }));
    this.cursor = svg("path", { class: "cursor" });
    add(...this.shades, this.brush, this.cursor);
    this.overlay();
  }

  /** The range and the cursor. */
  overlay() {
    if (this.width === 0 || !this.brush) return;
    const { range, hover, pin } = this.state;
    const clamp = (x) => Math.max(0, Math.min(this.width, x));
    const [from, until] = range ? range.map((at) => clamp(this.x(at))) : [0, 0];
    const box = (rect, x, width) => {
      rect.setAttribute("x", x);
      rect.setAttribute("width", Math.max(0, width));
    };
    box(this.brush, from, range ? Math.max(1, until - from) : 0);
    box(this.shades[0], 0, range ? from : 0);
    box(this.shades[1], until, range ? this.width - until : 0);
    const at = hover ?? pin;
    const x = at === null ? -1 : this.x(at);
    const shown = x >= 0 && x <= this.width;
    this.cursor.setAttribute("d", shown ? `M${x.toFixed(1)} ${TOP - 6}V${this.bottom}` : "");
    this.announce();
  }

  announce() {
    const at = this.state.pin ?? this.options.peakAt;
    this.element.setAttribute("aria-valuenow", at / 1e9);
    this.element.setAttribute("aria-valuetext", this.options.describe(at));
  }

  local(event) {
    return event.clientX - this.element.getBoundingClientRect().left;
  }

  press(event) {
    if (event.button !== 0) return;
    this.pressed = { x: this.local(event), moved: false };
    this.element.setPointerCapture(event.pointerId);
  }

  move(event) {
    const x = this.local(event);
    this.state.set({ hover: this.timeAt(x) });
    if (!this.pressed) return;
    this.pressed.moved ||= Math.abs(x - this.pressed.x) > 3;
    if (this.pressed.moved) this.select(this.timeAt(this.pressed.x), this.timeAt(x));
  }

  release(event) {
    if (this.pressed && !this.pressed.moved) this.state.set({ pin: this.timeAt(this.local(event)) });
    this.pressed = null;
  }

  select(from, until) {
    const range = this.options.snap(from, until);
    if (range[1] > range[0]) this.state.set({ range });
  }

  zoomIn() {
    const { range, zoom } = this.state;
    if (range && String(range) !== String(zoom)) this.state.zoomTo([...range]);
    else this.state.zoomBack(this.state.trail.length - 1);
  }

  /** Looks at a range whose width is changed by `factor` around the cursor, and moved by `shift` of it. */
  look(factor, shift) {
    const { begin: first, options } = this;
    const { end } = options;
    const [from, until] = this.view;
    const width = Math.max(1000, Math.min(end - first, (until - from) * factor));
    const around = this.state.pin ?? (from + until) / 2;
    const part = Math.max(0, Math.min(1, (around - from) / (until - from)));
    const start = factor === 1 ? from + shift * width : around - part * width;
    const begin = Math.round(Math.max(first, Math.min(end - width, start)));
    this.state.set({ zoom: width >= end - first ? null : [begin, Math.round(begin + width)] });
  }

  /** Puts the cursor somewhere; with `extend`, the range reaches from where it was to there. */
  go(at, extend) {
    const { end, peakAt } = this.options;
    const before = this.state.pin ?? peakAt;
    const now = Math.max(this.begin, Math.min(end, Math.round(at)));
    this.anchor = extend ? (this.anchor ?? before) : null;
    this.state.set({ pin: now, hover: null });
    if (extend) this.select(this.anchor, now);
    const [from, until] = this.view;
    if (now < from || now > until) this.look(1, (now - (from + until) / 2) / (until - from));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { options, state } = this;
    const [from, until] = this.view;
    const at = state.pin ?? options.peakAt;
    const step = Math.max(options.step, Math.round((until - from) / Math.max(100, this.width / 4)));
    const actions = {
      ArrowLeft: () => this.go(at - step, event.shiftKey),
      ArrowRight: () => this.go(at + step, event.shiftKey),
      PageUp: () => this.go(at - step * 10, event.shiftKey),
      PageDown: () => this.go(at + step * 10, event.shiftKey),
      Home: () => this.go(this.begin, event.shiftKey),
      End: () => this.go(options.end, event.shiftKey),
      p: () => this.go(options.peakAt, false),
      Enter: () => this.zoomIn(),
      w: () => this.look(0.5, 0),
      "+": () => this.look(0.5, 0),
      s: () => this.look(2, 0),
      "-": () => this.look(2, 0),
      a: () => this.look(1, -0.25),
      d: () => this.look(1, 0.25),
      Escape: () => {
        this.anchor = null;
        if (state.range || state.pin !== null) state.set({ range: null, pin: null, hover: null });
        else state.zoomBack(state.trail.length - 1);
      },
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
