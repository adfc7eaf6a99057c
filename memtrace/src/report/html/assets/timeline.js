// The timeline of one run, stacked by program, with the values beside it.
import { counted, duration, human, moment, seconds } from "./format.js";
import { el, patternOf, svg, swatch } from "./dom.js";
import { Plot, steps, stepsBack } from "./plot.js";

const HEIGHT = 340;
const COLUMN = 1;
/** Least height in which a name fits, pixels. */
const NAME_HEIGHT = 17;

/** The moment that the values beside the drawing belong to: the cursor's, else the range's peak. */
export function focus(run, state) {
  const at = state.hover ?? state.pin;
  return at === null ? run.peakIn(state.range) : run.momentAt(at);
}

/** Paints areas, outline and marks. */
function paint(run, plot) {
  const { width, svg: drawing } = plot;
  const count = Math.max(1, Math.floor(width / COLUMN));
  const [from, until] = plot.view;
  const columns = run.columns(from, until, count);
  const add = (tag, attributes, ...children) => drawing.append(svg(tag, attributes, ...children));
  if (run.count === 0) {
    const text = "No timeline was recorded: only the totals are known.";
    add("text", { class: "mt-dim", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, text);
    return;
  }
  const y = (bytes) => plot.y(bytes);
  const held = (l) => (c) => {
    const stack = columns.last[c] ? run.stackLast[l] : run.stackAtMax[l];
    return columns.window[c] >= 0 ? stack[columns.window[c]] : 0;
  };
  const layers = run.layers.map((layer, l) => ({ look: l, name: layer.name, held: held(l), images: layer.images }));
  const names = stackColumns(plot, count, layers.filter((layer) => layer.images > 0), add);
  const top = (c) => y(columns.max[c]);
  const band = steps(count, COLUMN, top) + stepsBack(count, COLUMN, (c) => y(columns.min[c]));
  add("path", { class: "mt-band", d: band });
  add("path", { class: "mt-total", d: steps(count, COLUMN, top) });
  let high = from > 0 ? run.peakIn(run.snapped(0, from)).rss : 0;
  const water = Float64Array.from(columns.max, (max) => (high = Math.max(high, max)));
  add("path", { class: "mt-high", d: steps(count, COLUMN, (c) => y(water[c])) });
  // Both of it are known after a window's last change, not at its maximum.
  const needed = (c) => (columns.window[c] < 0 ? 0 : run.neededAfter(columns.window[c]));
  if (run.shared.some((bytes) => bytes > 0)) add("path", { class: "needed", d: steps(count, COLUMN, (c) => y(needed(c))) });
  for (const name of names) add("text", { class: "areaname mt-halo", x: name.x, y: name.y, "text-anchor": "middle" }, name.text);
  snapshots(run, plot, add);
  marks(run, plot, add);
}

/** Draws `layers` on each other, each with a `look`, a `name` and what it `held(column)`; gives where names fit. */
export function stackColumns(plot, count, layers, add) {
  const y = (bytes) => plot.y(bytes);
  const floor = new Float64Array(count);
  const names = [];
  for (const { look, name, held } of layers) {
    const roof = floor.map((below, c) => below + held(c));
    const d = steps(count, COLUMN, (c) => y(roof[c])) + stepsBack(count, COLUMN, (c) => y(floor[c]));
    add("path", { class: `mt-l${look}`, d });
    if (patternOf(look)) add("path", { class: patternOf(look), d });
    names.push(placeName(name, floor, roof, plot));
    floor.set(roof);
  }
  return names.filter(Boolean);
}

/** Where in an area its name fits: in the widest stretch that is high enough. */
function placeName(text, floor, roof, plot) {
  const need = text.length * 7 + 12;
  let best = null;
  for (let c = 0, since = 0; c <= floor.length; c += 1) {
    const fits = c < floor.length && plot.y(floor[c]) - plot.y(roof[c]) >= NAME_HEIGHT;
    if (!fits) {
      const length = (c - since) * COLUMN;
      if (length >= need && (!best || length > best.length)) best = { length, middle: (since + c) >> 1 };
      since = c + 1;
    }
  }
  if (!best) return null;
  // The heights change within the stretch: the name must fit in all of its own width.
  const reach = Math.ceil(need / 2 / COLUMN);
  let [low, high] = [Infinity, -Infinity];
  for (let c = Math.max(0, best.middle - reach); c < Math.min(floor.length, best.middle + reach); c += 1) {
    low = Math.min(low, plot.y(floor[c]));
    high = Math.max(high, plot.y(roof[c]));
  }
  return low - high >= NAME_HEIGHT ? { text, x: best.middle * COLUMN, y: (low + high) / 2 + 4 } : null;
}

/** The path from point to point, cut where the drawing ends: most points may be outside of a zoom. */
function inside(points, width) {
  let path = "";
  for (let i = 1; i < points.length; i += 1) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    if (x1 < 0 || x0 > width || x1 <= x0) continue;
    const at = (x) => `${x.toFixed(1)} ${(y0 + ((y1 - y0) * (x - x0)) / (x1 - x0)).toFixed(1)}`;
    path += `M${at(Math.max(0, x0))}L${at(Math.min(width, x1))}`;
  }
  return path;
}

/** PSS where the kernel was asked for it. Between two of these points nothing is known. */
export function snapshots(run, plot, add, look = "") {
  const { count, at, pss, uss } = run.snapshots;
  if (count === 0) return;
  const points = Array.from({ length: count }, (_, i) => [plot.x(at[i]), plot.y(pss[i])]);
  if (count > 1) add("path", { class: `mt-pss ${look}`, d: inside(points, plot.width) });
  points.forEach(([x, y], i) => {
    if (x < 0 || x > plot.width) return;
    const title = svg("title", {}, `snapshot at ${moment(at[i], 0)}: PSS ${human(pss[i])}, USS ${human(uss[i])}`);
    add("circle", { class: `mt-pssdot ${look}`, cx: x, cy: y, r: 3 }, title);
  });
}

/** Whether the limit is drawn to scale: of one far above, little would be left of the run. As in the picture. */
function isNear(run) {
  return run.limit <= 4 * run.peak.rss;
}

/** Where records are missing. */
export function lostStretches(run, plot, add) {
  const { width, bottom } = plot;
  const top = plot.y(plot.top) - 6;
  for (const loss of run.losses) {
    const [from, until] = [plot.x(loss.from_ns), plot.x(loss.until_ns)].map((x) => Math.max(0, Math.min(width, x)));
    if (until < 0 || from >= width) continue;
    const title = svg("title", {}, `${counted(loss.records, "record", "records")} lost: ${loss.reason}`);
    add("rect", { class: "mt-lost", x: from, y: top, width: Math.max(2, until - from), height: bottom - top }, title);
  }
}

/** Losses, limit, OOM kills, and the peak. */
function marks(run, plot, add) {
  const { width, bottom } = plot;
  const top = plot.y(plot.top) - 6;
  lostStretches(run, plot, add);
  if (run.limit !== null && !isNear(run)) {
    add("text", { class: "mt-bad mt-halo", x: width - 6, y: top + 18, "text-anchor": "end" }, `limit ${human(run.limit)}, far above`);
  } else if (run.limit !== null && run.limit <= plot.top) {
    const y = plot.y(run.limit);
    add("path", { class: "mt-limit", d: `M0 ${y}H${width}` });
    add("text", { class: "mt-bad mt-halo", x: width - 6, y: y - 5, "text-anchor": "end" }, `limit ${human(run.limit)}`);
  }
  const { oom, end, pid } = run.processes;
  let free = -Infinity;
  oom.forEach((killed, i) => {
    const x = plot.x(end[i] < 0 ? run.end : end[i]);
    if (!killed || x < 0 || x > width) return;
    add("path", { class: "mt-oom", d: `M${x} ${top}V${bottom}` });
    const text = `OOM kill [${pid[i]}]`;
    const left = x > width - 110;
    if (x - free < 110) return;
    free = x;
    add("text", { class: "mt-bad mt-halo", x: x + (left ? -5 : 5), y: top + 12, "text-anchor": left ? "end" : "start" }, text);
  });
  const x = plot.x(run.peak.at);
  if (x < 0 || x > width) return;
  add("path", { class: "mt-peak", d: `M${x} ${top}V${bottom}` });
  add("circle", { class: "mt-dot", cx: x, cy: plot.y(run.peak.rss), r: 3.5 });
  const left = x > width - 190;
  const attributes = { class: "mt-strong mt-halo", x: x + (left ? -6 : 6), y: 13, "text-anchor": left ? "end" : "start" };
  add("text", attributes, `peak ${human(run.peak.rss)} at +${seconds(run.peak.at)}`);
}

/** Ticks for each program that began and each process that ended. */
function paintEvents(run, plot, lanes) {
  const { execs, start, end } = run.processes;
  const { width } = plot;
  const draw = (times, lane) => {
    const seen = new Set();
    for (const at of times) {
      const x = Math.round(plot.x(at));
      if (x >= 0 && x <= width) seen.add(x);
    }
    return svg("path", { class: "tick", d: [...seen].map((x) => `M${x + 0.5} ${lane}v7`).join("") });
  };
  lanes.setAttribute("width", width);
  lanes.setAttribute("viewBox", `0 0 ${width} 24`);
  const begins = start.length ? start : Array(end.length).fill(0);
  lanes.replaceChildren(draw([...begins, ...execs.flat()], 1), draw(end.filter((at) => at >= 0), 14));
}

/** Names and values of the layers at the moment in focus. */
function legend(run, state) {
  const rows = run.layers
    .map((layer, l) => ({ layer, l }))
    .filter(({ layer }) => layer.images > 0)
    .reverse();
  const cells = rows.map(() => el("td", { class: "number" }));
  const total = el("td", { class: "number" });
  const when = el("caption", {});
  const pss = el("td", { class: "number" });
  const pssName = el("th", { scope: "row" }, "PSS");
  const table = el(
    "table",
    { class: "legend" },
    when,
    el(
      "tbody",
      {},
      rows.map(({ layer, l }, i) =>
        el("tr", {}, el("th", { scope: "row", title: layer.name }, swatch(l), el("span", {}, layer.name)), cells[i]),
      ),
    ),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "total"), total), run.snapshots.count > 0 ? el("tr", { class: "pss" }, pssName, pss) : null),
  );
  const update = () => {
    const now = focus(run, state);
    const values = run.layersAt(now);
    when.textContent = `${now.kind === "last" ? "at" : "maximum at"} ${moment(now.at, run.width)}`;
    rows.forEach(({ l }, i) => (cells[i].textContent = human(values[l])));
    total.textContent = human(now.rss);
    const near = run.snapshotNear(now.at);
    if (near >= 0) {
      pss.textContent = human(run.snapshots.pss[near]);
      pssName.textContent = `PSS at ${moment(run.snapshots.at[near], 0)}`;
      pssName.title = `the closest snapshot, at ${human(run.snapshots.rss[near])} of RSS; USS ${human(run.snapshots.uss[near])}; not exact`;
    }
    table.dataset.bytes = now.rss;
  };
  state.listen((changed) => ["range", "hover", "pin"].some((name) => changed.has(name)) && update());
  update();
  return table;
}

/** Where one is: the whole run and the zooms that led here, each a way back. */
function breadcrumbs(state) {
  const box = el("nav", { class: "crumbs", "aria-label": "Zoom" });
  const name = ([from, until]) => `${moment(from, 1e6)} to ${moment(until, 1e6)}`;
  return {
    box,
    update: () => {
      const back = (text, place) => el("button", { type: "button", class: "plain", click: () => state.zoomBack(place) }, text);
      const steps = [back("Whole run", -1), ...state.trail.map((zoom, i) => back(name(zoom), i))];
      box.hidden = !state.zoom;
      if (state.zoom) box.replaceChildren(...steps.flatMap((step) => [step, " › "]), el("span", { "aria-current": "true" }, name(state.zoom)));
    },
  };
}

/** What is selected, in words, with what can be done about it. */
export function rangeBar(state, describe) {
  const text = el("p", { class: "readout", id: "readout", role: "status", "aria-live": "polite" });
  const button = (label, title, action) => el("button", { type: "button", title, click: action }, label);
  const zoomIn = button("Zoom to range", "Enter", () => state.zoomTo([...state.range]));
  const clear = button("Clear range", "Escape", () => state.set({ range: null, pin: null }));
  const crumbs = breadcrumbs(state);
  const update = () => {
    text.textContent = describe();
    zoomIn.hidden = !state.range || String(state.range) === String(state.zoom);
    clear.hidden = !state.range;
    crumbs.update();
  };
  state.listen((changed) => (changed.has("range") || changed.has("zoom")) && update());
  update();
  return el("div", {}, el("div", { class: "rangebar" }, text, el("span", { class: "buttons" }, zoomIn, clear)), crumbs.box);
}

/** The section with the timeline. */
export function timelineSection(run, state) {
  const lanes = svg("svg", { class: "lanes", height: 24, "aria-hidden": "true" });
  const plot = new Plot(state, {
    label: `Memory over time: ${run.title}`,
    height: HEIGHT,
    end: run.end,
    step: Math.max(1, run.width),
    peakAt: run.peak.at,
    most: () => Math.max(run.peak.rss, run.limit !== null && isNear(run) ? run.limit : 0),
    snap: (from, until) => run.snapped(from, until),
    describe: (at) => `${moment(at, run.width)}: ${human(run.momentAt(at).rss)}`,
    paint: (self) => {
      paint(run, self);
      paintEvents(run, self, lanes);
    },
  });
  const describe = () => {
    if (!state.range) return "Drag, or hold Shift with the arrow keys, to choose a range: everything below answers for it.";
    const [from, until] = state.range;
    const peak = run.peakIn(state.range);
    return (
      `${moment(from, run.width)} to ${moment(until, run.width)} (${duration(until - from)}): ` +
      `peak ${human(peak.rss)} at ${moment(peak.at, run.width)}, least ${human(peak.least)}`
    );
  };
  const folded = run.recordedSpans > run.count ? `, folded from ${counted(run.recordedSpans, "window", "windows")}` : "";
  const resolution = run.width > 0 ? `${counted(run.count, "window", "windows")} of ${duration(run.width)}` : counted(run.count, "change", "changes");
  return el(
    "section",
    { class: "card", id: "timeline", "aria-label": "Timeline" },
    el("div", { class: "title" }, el("h2", {}, "Memory over time"), el("span", { class: "quiet" }, resolution + folded)),
    rangeBar(state, describe),
    el(
      "div",
      { class: "aligned" },
      el("div", { class: "side" }, legend(run, state)),
      el("div", { class: "wide" }, plot.element),
      el("div", { class: "side lanenames", "aria-hidden": "true" }, el("span", {}, "starts and execs"), el("span", {}, "exits")),
      el("div", { class: "wide" }, lanes),
    ),
    el(
      "p",
      { class: "quiet key" },
      "Each column stacks what the programs held at the instant of its maximum. Lighter at the top: what varied within a column. ",
      "Thin and dotted: the high-water mark",
      run.shared.some((bytes) => bytes > 0) ? "; bold and dotted: without what is shared after fork." : ".",
      run.snapshots.count > 0 ? " Points: PSS, snapshots of what the kernel says; not exact, and nothing is known between them." : "",
    ),
  );
}
