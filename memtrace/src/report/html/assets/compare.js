// Two runs on one axis, and what grew from the first to the second.
import { change, csvField, duration, grouped, human, moment } from "./format.js";
import { copyText, el, svg } from "./dom.js";
import { Plot, steps, stepsBack } from "./plot.js";
import { rangeBar, snapshots } from "./timeline.js";

const OVERLAY_HEIGHT = 320;
const GROWTH_ROWS = 40;
const NAMES = ["A", "B"];

function paintOverlay(runs, plot) {
  const { width, svg: drawing } = plot;
  const [from, until] = plot.view;
  const add = (tag, attributes, ...children) => drawing.append(svg(tag, attributes, ...children));
  runs.forEach((run, r) => {
    if (run.count === 0) return;
    const until_ = Math.min(until, run.end);
    const count = Math.max(1, Math.floor(((until_ - from) / (until - from)) * width));
    if (until_ <= from) return;
    const columns = run.columns(from, until_, count);
    const top = (c) => plot.y(columns.max[c]);
    const line = steps(count, 1, top);
    if (r === 0) add("path", { class: "fillA", d: line + stepsBack(count, 1, () => plot.y(0)) });
    add("path", { class: `band${NAMES[r]}`, d: line + stepsBack(count, 1, (c) => plot.y(columns.min[c])) });
    add("path", { class: `line${NAMES[r]}`, d: line });
    // Its name, where it ends.
    const x = Math.min(width - 14, plot.x(run.end) + 4);
    if (run.end <= until) add("text", { class: `name${NAMES[r]} mt-halo`, x, y: plot.y(columns.max[count - 1]) - 6 }, NAMES[r]);
  });
  runs.forEach((run, r) => snapshots(run, plot, add, `pss${NAMES[r]}`));
  const tall = runs.map((run) => plot.y(run.peak.rss));
  runs.forEach((run, r) => {
    const x = plot.x(run.peak.at);
    if (x < 0 || x > width) return;
    add("circle", { class: `dot${NAMES[r]}`, cx: x, cy: tall[r], r: 4 });
    const left = x > width - 190;
    // The labels must not lie on each other.
    const row = r === 0 ? 13 : Math.abs(plot.x(runs[0].peak.at) - x) < 190 ? 27 : 13;
    add("path", { class: `peak${NAMES[r]}`, d: `M${x} ${row + 4}V${tall[r] - 4}` });
    const attributes = { class: `name${NAMES[r]} mt-halo`, x: x + (left ? -7 : 7), y: row, "text-anchor": left ? "end" : "start" };
    add("text", attributes, `${NAMES[r]}: peak ${human(run.peak.rss)}`);
  });
}

/** Values of both runs at the cursor, else at their peaks within the range. */
function pairLegend(runs, state, snap) {
  const cells = runs.map(() => el("td", { class: "number" }));
  const difference = el("td", { class: "number" });
  const when = el("caption", {});
  const update = () => {
    const at = state.hover ?? state.pin;
    const values = runs.map((run, r) => {
      if (at === null) return run.peakIn(state.range && run.snapped(...state.range)).rss;
      return at > run.end ? 0 : run.momentAt(at).rss;
    });
    when.textContent = at === null ? (state.range ? "peaks in the range" : "peaks") : `around ${moment(at, 1e6)}`;
    values.forEach((value, r) => {
      cells[r].textContent = human(value);
      cells[r].dataset.bytes = value;
    });
    difference.textContent = change(values[1] - values[0]);
  };
  state.listen((changed) => ["range", "hover", "pin"].some((name) => changed.has(name)) && update());
  update();
  return el(
    "table",
    { class: "legend", id: "pair" },
    when,
    el(
      "tbody",
      {},
      runs.map((run, r) => el("tr", {}, el("th", { scope: "row", title: run.title }, el("b", { class: `run${NAMES[r]}` }, NAMES[r]), el("span", {}, run.title)), cells[r])),
    ),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "B − A"), difference)),
  );
}

/** Both timelines. */
export function overlaySection(runs, state) {
  const end = Math.max(...runs.map((run) => run.end));
  const snap = (from, until) => {
    const both = runs.map((run) => run.snapped(from, until));
    const high = runs.map((run, r) => (Math.max(from, until) > run.end ? Math.max(from, until) : both[r][1]));
    return [Math.min(both[0][0], both[1][0]), Math.min(end, Math.max(...high))];
  };
  const plot = new Plot(state, {
    label: "Memory over time of both runs",
    height: OVERLAY_HEIGHT,
    end,
    step: Math.max(1, ...runs.map((run) => run.width)),
    peakAt: runs[1].peak.at,
    most: () => Math.max(...runs.map((run) => run.peak.rss)),
    snap,
    describe: (at) => runs.map((run, r) => `${NAMES[r]} ${at > run.end ? "ended" : human(run.momentAt(at).rss)}`).join(", "),
    paint: (self) => paintOverlay(runs, self),
  });
  const describe = () => {
    if (!state.range) return "Drag, or hold Shift with the arrow keys, to choose a range: what grew is then told for it.";
    const [from, until] = state.range;
    const peaks = runs.map((run) => run.peakIn(run.snapped(from, until)).rss);
    return `${moment(from, 1e6)} to ${moment(until, 1e6)} (${duration(until - from)}): peak ${human(peaks[0])} and ${human(peaks[1])}, ${change(peaks[1] - peaks[0])}`;
  };
  return el(
    "section",
    { class: "card", id: "timeline", "aria-label": "Timelines" },
    el("div", { class: "title" }, el("h2", {}, "Both runs over time")),
    rangeBar(state, describe),
    el("div", { class: "aligned" }, el("div", { class: "side" }, pairLegend(runs, state)), el("div", { class: "wide" }, plot.element)),
    el("p", { class: "quiet key" }, "Sum of RSS from the start of each run; the outline is each column's maximum, the lighter band what varied within it.", runs.some((run) => run.snapshots.count > 0) ? " Points: PSS, snapshots; not exact." : ""),
  );
}

/** What each program held at the peaks within a range. */
function growthIn(runs, range) {
  const programs = new Map();
  runs.forEach((run, r) => {
    const whole = run.snapped(...range);
    const of = (name) => {
      const found = programs.get(name) ?? { name, images: [0, 0], at_peak: [0, 0], largest: [0, 0] };
      programs.set(name, found);
      return found;
    };
    for (const holder of run.holders(run.peakIn(whole))) of(run.rows.name[holder.row]).at_peak[r] += holder.rss;
    for (let row = 0; row < run.rows.count; row += 1) {
      if (run.rows.start[row] >= whole[1] || run.rows.end[row] <= whole[0]) continue;
      const program = of(run.rows.name[row]);
      program.images[r] += run.rows.images[row];
      program.largest[r] = Math.max(program.largest[r], run.rowPeakIn(row, whole));
    }
  });
  const grown = (program) => Math.abs(program.at_peak[1] - program.at_peak[0]);
  return [...programs.values()].sort((a, b) => grown(b) - grown(a) || Math.max(...b.largest) - Math.max(...a.largest));
}

/** The table of what grew. */
export function growthSection(runs, growth, state) {
  const title = el("h2", {});
  const body = el("tbody", {});
  const foot = el("tfoot", {});
  let list = growth;
  let shown = GROWTH_ROWS;
  const more = el("button", { type: "button", click: () => ((shown = Infinity), update()) });
  const copy = el("button", { type: "button", click: () => copyCsv() }, "Copy as CSV");
  /** A bar to the right for more, to the left for less. */
  const diverging = (grown, most) => {
    const width = most > 0 ? (Math.abs(grown) / most) * 50 : 0;
    const rect = { class: grown > 0 ? "more" : "less", x: `${grown > 0 ? 50 : 50 - width}%`, width: `${width}%`, height: 14, rx: 2 };
    return svg("svg", { class: "hbar", width: "100%", height: 14, "aria-hidden": "true" }, svg("rect", rect), svg("rect", { class: "zero", x: "50%", width: 1, height: 14 }));
  };
  function update() {
    list = state.range ? growthIn(runs, state.range) : growth;
    title.textContent = state.range ? "What grew, at the peaks of the range" : "What grew, at the peaks";
    const most = Math.max(1, ...list.map((program) => Math.abs(program.at_peak[1] - program.at_peak[0])));
    const number = (text, bytes) => el("td", { class: "number", "data-bytes": bytes }, text);
    body.replaceChildren(
      ...list.slice(0, shown).map((program) => {
        const [a, b] = program.at_peak;
        const times = program.images[0] === program.images[1] ? `×${grouped(program.images[0])}` : `×${grouped(program.images[0])} → ×${grouped(program.images[1])}`;
        return el(
          "tr",
          {},
          el("th", { scope: "row" }, program.name),
          el("td", { class: "number quiet" }, times),
          number(human(a), a),
          number(human(b), b),
          el("td", { class: "barcell" }, diverging(b - a, most)),
          el("td", { class: b > a ? "number up" : "number", "data-bytes": b - a }, b === a ? "0 B" : change(b - a)),
          number(human(program.largest[0]), program.largest[0]),
          number(human(program.largest[1]), program.largest[1]),
        );
      }),
    );
    const sums = [0, 1].map((r) => list.reduce((sum, program) => sum + program.at_peak[r], 0));
    foot.replaceChildren(
      el("tr", { id: "growth-sum" }, el("th", { scope: "row" }, "Sum"), el("td", {}), number(human(sums[0]), sums[0]), number(human(sums[1]), sums[1]), el("td", {}), number(change(sums[1] - sums[0]), sums[1] - sums[0]), el("td", {}), el("td", {})),
    );
    more.hidden = list.length <= shown;
    more.textContent = `Show all ${grouped(list.length)}`;
  }
  async function copyCsv() {
    const columns = ["program", "images_a", "images_b", "at_peak_a_bytes", "at_peak_b_bytes", "largest_a_bytes", "largest_b_bytes"];
    const lines = list.map((program) => [program.name, ...program.images, ...program.at_peak, ...program.largest]);
    const done = await copyText([columns, ...lines].map((line) => line.map(csvField).join(",")).join("\n") + "\n");
    copy.textContent = done ? "Copied" : "Copying is not permitted here";
    setTimeout(() => (copy.textContent = "Copy as CSV"), 2500);
  }
  state.listen((changed) => changed.has("range") && update());
  update();
  const heads = ["Program", "Images", "A at peak", "B at peak", "", "Change", "Largest in A", "Largest in B"];
  return el(
    "section",
    { class: "card", id: "growth-table", "aria-label": "What grew" },
    el("div", { class: "title" }, title, el("span", { class: "buttons" }, copy)),
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of programs" },
      el("table", { class: "grid" }, el("thead", {}, el("tr", {}, heads.map((name, i) => el("th", { scope: "col", class: i > 0 && i !== 4 ? "number" : i === 4 ? "barcell" : false }, name)))), body, foot),
    ),
    more,
  );
}
