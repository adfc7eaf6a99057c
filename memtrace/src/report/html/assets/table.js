// The table of processes: sorted, filtered, copied.
import { counted, csvField, duration, grouped, human, seconds } from "./format.js";
import { tellingCommands } from "./commands.js";
import { chooser } from "./choose.js";
import { copyText, el } from "./dom.js";

const ROWS = 25;

/** The columns: key, heading, value for sorting and CSV, how to show it, name in CSV. */
function columnsFor(run, state, telling) {
  const p = run.processes;
  const value = (columns) => (i) => (columns.length ? columns[i] : 0);
  const peak = run.peakIn(state.range);
  const ranged = state.range !== null;
  // Of some, the page does not have what they held when.
  const known = (i) => !ranged || !p.untold[i].some(([from, until]) => from < state.range[1] && until > state.range[0]);
  const held = (i) => (known(i) ? p.rows[i].reduce((sum, row) => sum + run.rssAt(row, peak), 0) : null);
  const atPeak = ranged ? held : value(p.at_tree_peak);
  const peakOf = ranged ? (i) => (known(i) ? Math.max(0, ...p.rows[i].map((row) => run.rowPeakIn(row, state.range))) : null) : value(p.peak);
  const amount = (number, i) => (p.borrowed[i] ? `(${human(number)})` : human(number));
  const when = (ns) => `+${seconds(ns)}`;
  const number = (key, title, of, show, csv) => ({ key, title, of, show, csv, numeric: true });
  const text = (key, title, of, csv, more) => ({ key, title, of, show: (word) => word, csv, numeric: false, ...more });
  return [
    text("program", "Program", (i) => p.name[i], "program", { head: true }),
    number("pid", "PID", value(p.pid), String, "pid"),
    number("parent", "Parent", value(p.ppid), String, "parent_pid"),
    number("start", "Start", value(p.start), when, "start_ns"),
    number("lifetime", "Lifetime", value(p.lifetime), duration, "lifetime_ns"),
    number("peak", ranged ? "Peak in range" : "Peak", peakOf, amount, ranged ? "peak_in_range_bytes" : "peak_rss_bytes"),
    ...(ranged ? [] : [number("peakat", "Peak at", value(p.peak_at), when, "peak_at_ns")]),
    number("held", ranged ? "At range's peak" : "At tree's peak", atPeak, human, ranged ? "at_range_peak_bytes" : "at_tree_peak_bytes"),
    number("average", "Average", value(p.average), amount, "average_rss_bytes"),
    ...["anon", "file", "shmem", "swap"]
      .filter((kind) => p.own_peak[kind].length > 0)
      .map((kind) => number(kind, { anon: "Anon", file: "File", shmem: "Shmem", swap: "Swap" }[kind], value(p.own_peak[kind]), human, `${kind}_at_own_peak_bytes`)),
    ...(p.minor_faults.length > 0 ? [number("minor", "Faults", value(p.minor_faults), grouped, "minor_faults")] : []),
    ...(p.major_faults.length > 0 ? [number("major", "Major", value(p.major_faults), grouped, "major_faults")] : []),
    text("end", "End", (i) => p.ending[i], "end"),
    text("command", "Command", (i) => p.command[i], "command", { code: true, show: (_, i) => telling[i] }),
  ];
}

/** The section with the table. */
export function tableSection(run, state) {
  const p = run.processes;
  const total = p.name.length;
  const telling = tellingCommands(p.name, p.command);
  let shown = ROWS;
  const head = el("tr", {});
  const body = el("tbody", {});
  const foot = el("tfoot", {});
  const words = el("p", { class: "quiet", role: "status" });
  const filter = el("input", {
    type: "search",
    placeholder: "Filter by name, command or PID",
    "aria-label": "Filter processes",
    spellcheck: "false",
    autocomplete: "off",
    input: () => state.set({ query: filter.value }),
  });
  filter.value = state.query;
  const copy = el("button", { type: "button", click: () => copyCsv() }, "Copy as CSV");
  const more = el("button", { type: "button", click: () => ((shown = shown === ROWS ? 500 : Infinity), update()) });

  const sorting = () => {
    const [key, direction] = (state.sort || "peak:down").split(":");
    return { key, down: direction !== "up" };
  };

  /** Columns, and the processes that fit, in order. */
  function select() {
    const columns = columnsFor(run, state, telling);
    const { key, down } = sorting();
    const column = columns.find((candidate) => candidate.key === key) ?? columns.find((candidate) => candidate.key === "peak");
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const list = [];
    for (let i = 0; i < total; i += 1) {
      const text = `${p.name[i]} ${p.command[i]} ${p.pid[i]} ${p.ending[i]}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
      if (state.range) {
        const from = p.start.length ? p.start[i] : 0;
        if (from >= state.range[1] || (p.end[i] >= 0 && p.end[i] <= state.range[0])) continue;
      }
      list.push(i);
    }
    const values = new Map(list.map((i) => [i, column.of(i)]));
    const sign = down ? -1 : 1;
    const compare = column.numeric
      ? (a, b) => sign * (values.get(a) - values.get(b))
      : (a, b) => sign * (values.get(a) < values.get(b) ? -1 : values.get(a) > values.get(b) ? 1 : 0);
    return { columns, list: list.sort((a, b) => compare(a, b) || a - b) };
  }

  function heading(column) {
    const { key, down } = sorting();
    const active = key === column.key;
    const flip = () => {
      state.set({ sort: `${column.key}:${active ? (down ? "up" : "down") : column.numeric ? "down" : "up"}` });
      head.querySelector(`[data-key="${column.key}"] button`)?.focus();
    };
    const arrow = active ? (down ? " ▾" : " ▴") : "";
    return el(
      "th",
      { scope: "col", "data-key": column.key, class: column.numeric ? "number" : false, "aria-sort": active ? (down ? "descending" : "ascending") : false },
      el("button", { type: "button", class: "plain", click: flip }, column.title, el("span", { "aria-hidden": "true" }, arrow)),
    );
  }

  function update() {
    const { columns, list } = select();
    head.replaceChildren(...columns.map(heading));
    const rows = list.slice(0, shown).map((i) =>
      el(
        "tr",
        { "data-pid": p.pid[i] },
        columns.map((column) => {
          const value = column.of(i);
          const attributes = { class: column.numeric ? "number" : column.code ? "code" : false, "data-value": column.numeric ? value : false };
          if (column.code) attributes.title = value;
          return el(column.head ? "th" : "td", column.head ? { scope: "row", ...attributes } : attributes, value === null ? "–" : column.head ? chooser(run, state, i, value) : column.show(value, i));
        }),
      ),
    );
    body.replaceChildren(...rows);
    const heldColumn = columns.find((column) => column.key === "held");
    const sum = list.reduce((all, i) => all + heldColumn.of(i), 0);
    const peak = run.peakIn(state.range).rss;
    const cells = (label, bytes, id) =>
      el(
        "tr",
        { id },
        columns.map((column, i) =>
          i === 0 ? el("th", { scope: "row" }, label) : el("td", { class: "number", "data-value": column === heldColumn ? bytes : false }, column === heldColumn ? human(bytes) : ""),
        ),
      );
    const rest = peak - sum;
    foot.replaceChildren(cells(`Sum of ${grouped(list.length)}`, sum, "table-sum"));
    if (rest !== 0) foot.append(cells("Not told apart", rest, "table-rest"));
    const left = p.left_out > 0 ? ` ${counted(p.left_out, "process", "processes")} with smaller peaks are not in this page.` : "";
    words.textContent = (list.length === total ? `${counted(total, "process", "processes")}.` : `${grouped(list.length)} of ${counted(total, "process", "processes")}.`) + left;
    more.hidden = list.length <= shown;
    more.textContent = list.length > 500 && shown === ROWS ? "Show 500" : `Show all ${grouped(list.length)}`;
  }

  async function copyCsv() {
    const { columns, list } = select();
    const lines = [columns.map((column) => column.csv), ...list.map((i) => columns.map((column) => column.of(i)))];
    const done = await copyText(lines.map((line) => line.map((value) => csvField(value ?? "")).join(",")).join("\n") + "\n");
    copy.textContent = done ? `Copied ${counted(list.length, "row", "rows")}` : "Copying is not permitted here";
    setTimeout(() => (copy.textContent = "Copy as CSV"), 2500);
  }

  let waiting = 0;
  state.listen((changed) => {
    if (!["range", "sort", "query"].some((name) => changed.has(name))) return;
    // While a range is drawn it changes faster than rows can be laid out.
    cancelAnimationFrame(waiting);
    if (changed.has("range")) waiting = requestAnimationFrame(update);
    else update();
  });
  update();
  return el(
    "section",
    { class: "card", id: "processes", "aria-label": "Processes" },
    el("div", { class: "title" }, el("h2", {}, "Processes"), el("span", { class: "buttons" }, filter, copy)),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of processes" }, el("table", { class: "grid" }, el("thead", {}, head), body, foot)),
    el("div", { class: "below" }, words, more),
  );
}
