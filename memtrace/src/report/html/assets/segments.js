// What a process's memory was for, over time and at its peak.
import { duration, grouped, human, moment, seconds } from "./format.js";
import { el, svg, swatch } from "./dom.js";
import { upperBound } from "./run.js";
import { State } from "./state.js";
import { Plot, steps } from "./plot.js";
import { lostStretches, stackColumns } from "./timeline.js";

const SEGMENTS_HEIGHT = 260;

/** The layer whose look each segment has: anonymous memory, files and shared memory look as they do elsewhere. */
const LOOKS = [4, 1, 3, 6, 0, 8, 2, 5, 7];

/** What segments are called, in the order of their numbers. */
const SEGMENTS = ["text", "data + bss", "heap", "stack", "anonymous", "libraries", "files", "shared memory", "unknown"];

/** Where a plot of one process is looked at. The cursor is that of the page, the rest its own. */
class Cursor extends State {
  read() {
    return {};
  }

  write() {}
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The numbers of a text: five bits a digit, the lowest first; of each number the lowest bit is the sign. */
function readNumbers(text) {
  const numbers = [];
  let [number, scale] = [0, 1];
  for (const letter of text) {
    const digit = DIGITS.indexOf(letter);
    number += (digit % 32) * scale;
    scale *= 32;
    if (digit >= 32) continue;
    numbers.push(number % 2 === 1 ? -(number - 1) / 2 : number / 2);
    [number, scale] = [0, 1];
  }
  return numbers;
}

/** Moments of a process, in order: when, what each segment held from then on, and the sum, which is its RSS. */
function readStory(text, tick, page, segments) {
  const list = readNumbers(text);
  const story = { at: [], rss: [], held: Array.from({ length: segments }, () => []) };
  const pages = Array(segments).fill(0);
  for (let i = 0, at = 0; i < list.length; ) {
    at += list[i] * tick;
    const changed = list[i + 1];
    i += 2;
    for (let s = 0; s < segments; s += 1) if (changed & (1 << s)) pages[s] += list[i++];
    story.at.push(at);
    story.rss.push(pages.reduce((sum, held) => sum + held, 0) * page);
    pages.forEach((held, s) => story.held[s].push(held * page));
  }
  return story;
}

/** One process with its segments. */
class Told {
  constructor(run, process) {
    const { segments, processes } = run;
    const index = segments.process.indexOf(process);
    const page = segments.page_bytes;
    this.run = run;
    this.name = `${processes.name[process]} [${processes.pid[process]}]`;
    this.story = readStory(segments.story[index], segments.tick_ns, page, SEGMENTS.length);
    this.recorded = segments.moments[index];
    this.within = segments.within[index];
    this.execs = processes.execs[process];
    this.rows = [];
    const table = readNumbers(segments.table[index]);
    for (let i = 0; i < table.length; i += 7) {
      const [segment, resident, swapped, mapped, ...more] = table.slice(i, i + 7);
      const most = [resident + more[0], swapped + more[1], more[2] < 0 ? -1 : Math.max(0, mapped) + more[2]];
      const bytes = [resident, swapped, mapped, ...most].map((pages) => pages * page);
      const known = (amount) => (amount < 0 ? null : amount);
      this.rows.push({ segment, resident: bytes[0], swapped: bytes[1], mapped: known(bytes[2]), mostResident: bytes[3], mostSwapped: bytes[4], mostMapped: known(bytes[5]) });
    }
    const { at, rss, held } = this.story;
    this.begin = Math.min(processes.start.length ? processes.start[process] : 0, ...at.slice(0, 1));
    this.end = Math.max(this.begin + 1, processes.end[process] < 0 ? run.end : processes.end[process], ...at.slice(-1));
    this.peak = rss.reduce((best, bytes, i) => (bytes > rss[best] ? i : best), 0);
    this.shown = SEGMENTS.map((_, s) => s).filter((s) => held[s].some((bytes) => bytes !== 0));
  }

  /** The moment that holds at a time; -1 before the first. */
  momentAt(at) {
    return upperBound(this.story.at, at) - 1;
  }

  /** What a segment held at a moment. */
  heldAt(segment, index) {
    return index < 0 ? 0 : this.story.held[segment][index];
  }

  /** For each column of a drawing the moment of its largest sum; -1 for none. */
  columns(from, until, count) {
    const { at, rss } = this.story;
    const out = new Int32Array(count).fill(-1);
    const scale = count / (until - from);
    at.forEach((begin, i) => {
      const end = i + 1 < at.length ? at[i + 1] : this.end;
      if (begin >= until || end < from) return;
      const first = Math.max(0, Math.floor((begin - from) * scale));
      const stop = Math.min(count, Math.max(first + 1, Math.ceil((end - from) * scale - 1e-9)));
      for (let c = first; c < stop; c += 1) if (out[c] < 0 || rss[i] > rss[out[c]]) out[c] = i;
    });
    return out;
  }

  describe(at) {
    const index = this.momentAt(at);
    const parts = this.shown.map((s) => `${SEGMENTS[s]} ${human(this.heldAt(s, index))}`);
    return `${moment(at, this.run.recordedWidth)}: ${human(index < 0 ? 0 : this.story.rss[index])}; ${parts.join(", ")}`;
  }
}

function paintSegments(told, plot) {
  const { width, svg: drawing } = plot;
  const count = Math.max(1, Math.floor(width));
  const columns = told.columns(...plot.view, count);
  const add = (tag, attributes, ...children) => drawing.append(svg(tag, attributes, ...children));
  if (told.story.at.length === 0) {
    add("text", { class: "mt-dim", x: width / 2, y: SEGMENTS_HEIGHT / 2, "text-anchor": "middle" }, "What it held over time was not recorded.");
    return;
  }
  const layers = told.shown.map((s) => ({
    look: LOOKS[s],
    name: SEGMENTS[s],
    // What is below 0 has no area: the sum then lies below the top of the others.
    held: (c) => Math.max(0, told.heldAt(s, columns[c])),
  }));
  const names = stackColumns(plot, count, layers, add);
  const rss = (c) => (columns[c] < 0 ? 0 : told.story.rss[columns[c]]);
  add("path", { class: "mt-total", d: steps(count, 1, (c) => plot.y(rss(c))) });
  for (const name of names) add("text", { class: "areaname mt-halo", x: name.x, y: name.y, "text-anchor": "middle" }, name.text);
  const [top, { bottom }] = [plot.y(plot.top) - 6, plot];
  for (const at of told.execs) {
    const x = plot.x(at);
    if (x > 0 && x < width) add("path", { class: "mt-axis", d: `M${x} ${top}V${bottom}` }, svg("title", {}, `executes a program at +${seconds(at)}`));
  }
  lostStretches(told.run, plot, add);
  const [peakAt, peak] = [told.story.at[told.peak], told.story.rss[told.peak]];
  const x = plot.x(peakAt);
  if (x < 0 || x > width) return;
  const left = x > width - 190;
  add("path", { class: "mt-peak", d: `M${x} ${top}V${bottom}` });
  add("circle", { class: "mt-dot", cx: x, cy: plot.y(peak), r: 3.5 });
  add("text", { class: "mt-strong mt-halo", x: x + (left ? -6 : 6), y: 13, "text-anchor": left ? "end" : "start" }, `peak ${human(peak)} at +${seconds(peakAt)}`);
}

/** Names and values at the cursor, else at the peak. They sum to the RSS. */
function segmentsLegend(told, cursor) {
  const shown = [...told.shown].reverse();
  const cells = shown.map((s) => el("td", { class: "number", "data-segment": SEGMENTS[s] }));
  const total = el("td", { class: "number" });
  const when = el("caption", {});
  const table = el(
    "table",
    { class: "legend" },
    when,
    el("tbody", {}, shown.map((s, i) => el("tr", {}, el("th", { scope: "row" }, swatch(LOOKS[s]), el("span", {}, SEGMENTS[s])), cells[i]))),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "RSS"), total)),
  );
  const update = () => {
    const at = cursor.hover ?? cursor.pin;
    const index = at === null ? told.peak : told.momentAt(at);
    const rss = index < 0 ? 0 : (told.story.rss[index] ?? 0);
    when.textContent = at === null ? `at its peak, ${moment(told.story.at[index] ?? 0, told.run.recordedWidth)}` : `at ${moment(at, told.run.recordedWidth)}`;
    shown.forEach((s, i) => {
      const held = told.heldAt(s, index);
      cells[i].textContent = human(held);
      cells[i].dataset.bytes = held;
    });
    total.textContent = human(rss);
    table.dataset.bytes = rss;
  };
  cursor.listen((changed) => (changed.has("hover") || changed.has("pin")) && update());
  update();
  return table;
}

/** What each segment had at the peak of the largest image, and its own peaks. */
function segmentsTable(told) {
  const columns = [
    ["Virtual", "mapped"],
    ["Resident", "resident"],
    ["Swapped out", "swapped"],
    ["Most virtual", "mostMapped"],
    ["Most resident", "mostResident"],
    ["Most swapped out", "mostSwapped"],
  ];
  const cell = (bytes, key) => el("td", { class: "number", "data-key": key, "data-value": bytes ?? false, title: bytes === null ? false : `${grouped(bytes)} bytes` }, bytes === null ? "–" : human(bytes));
  const sum = (key) => told.rows.reduce((all, row) => all + row[key], 0);
  const sums = columns.map(([, key]) => (["resident", "swapped"].includes(key) ? cell(sum(key), key) : el("td", {})));
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of segments" },
    el(
      "table",
      { class: "grid" },
      el("caption", { class: "quiet" }, "At the peak, and the most of each at its own time"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Segment"), columns.map(([name]) => el("th", { scope: "col", class: "number" }, name)))),
      el("tbody", {}, told.rows.map((row) => el("tr", { "data-segment": SEGMENTS[row.segment] }, el("th", { scope: "row" }, SEGMENTS[row.segment]), columns.map(([, key]) => cell(row[key], key))))),
      el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "Sum"), sums)),
    ),
  );
}

/** What the numbers are worth. */
function segmentsKey(told) {
  const { recordedWidth, width } = told.run;
  const words = ["Each column stacks what was resident at the instant of its maximum; the line is the RSS."];
  if (recordedWidth > 0) words.push(`Known are the peak, and what was there after the last change in each window of ${duration(recordedWidth)}.`);
  const folded = told.recorded > told.story.at.length;
  if (folded) words.push(`Of ${grouped(told.recorded)} moments ${grouped(told.story.at.length)} are in this page: the largest and the last of each stretch.`);
  if (told.story.held.some((held) => held.some((bytes) => bytes < 0))) words.push("Below 0 is what left of other segments than it was booked to: that is not drawn, so that the areas are above the line.");
  if (told.within === 0) words.push("Each segment is exact.");
  else if (told.within > 0) words.push(`No segment is wrong by more than ${human(told.within)}; the sum is right.`);
  else words.push("How far segments are wrong has no bound; the sum is right.");
  if (told.execs.length > 0) words.push("Vertical lines: programs that it executed.");
  return el("p", { class: "quiet key" }, words.join(" "));
}

/** The section for the process that is chosen; the one with the largest peak until then. */
export function segmentsSection(run, state) {
  const { name, pid, peak } = run.processes;
  const peakOf = (i) => (peak.length ? peak[i] : 0);
  const order = [...run.segments.process].sort((a, b) => peakOf(b) - peakOf(a));
  const chosen = () => (order.includes(state.process) ? state.process : order[0]);
  const select = el(
    "select",
    { "aria-label": "Process whose segments are shown", change: () => state.set({ process: Number(select.value) }) },
    order.map((i) => el("option", { value: i }, `${name[i]} [${pid[i]}], ${human(peakOf(i))}`)),
  );
  const box = el("div", {});
  let told = null;
  let cursor = null;
  let following = false;
  /** The page's cursor, where it lies in this process's life. */
  const follow = () => {
    const inside = (at) => (at !== null && at >= told.begin && at <= told.end ? at : null);
    following = true;
    cursor.set({ hover: inside(state.hover), pin: inside(state.pin) });
    following = false;
  };
  const show = () => {
    told = new Told(run, chosen());
    cursor = new Cursor();
    select.value = chosen();
    const own = cursor;
    cursor.listen((changed) => {
      // A plot that another process has replaced says nothing any more.
      if (own !== cursor || following || !(changed.has("hover") || changed.has("pin"))) return;
      state.set({ hover: own.hover, pin: own.pin });
    });
    follow();
    const { story } = told;
    const plot = new Plot(cursor, {
      label: `What the memory of ${told.name} was for, over time`,
      height: SEGMENTS_HEIGHT,
      begin: told.begin,
      end: told.end,
      step: Math.max(1, run.recordedWidth),
      peakAt: story.at[told.peak] ?? told.begin,
      // Where something is below 0, the areas are above the sum.
      most: () => Math.max(1, ...story.at.map((_, i) => told.shown.reduce((sum, s) => sum + Math.max(0, story.held[s][i]), 0))),
      snap: (from, until) => [Math.min(from, until), Math.max(from, until)],
      describe: (at) => told.describe(at),
      paint: (self) => paintSegments(told, self),
    });
    box.replaceChildren(
      el("div", { class: "aligned" }, el("div", { class: "side" }, segmentsLegend(told, cursor)), el("div", { class: "wide" }, plot.element)),
      segmentsKey(told),
      segmentsTable(told),
    );
  };
  state.listen((changed) => {
    if (changed.has("process")) show();
    else if (changed.has("hover") || changed.has("pin")) follow();
  });
  show();
  const left = run.segments.left_out;
  return el(
    "section",
    { class: "card", id: "segments", "aria-label": "What memory was for" },
    el("div", { class: "title" }, el("h2", {}, "What memory was for"), select),
    box,
    left > 0 ? el("p", { class: "quiet" }, `${grouped(left)} more with smaller peaks are not in this page.`) : null,
  );
}
