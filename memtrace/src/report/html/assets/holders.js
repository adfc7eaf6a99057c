// Who held what at the peak of the range, as bars that sum to it; and what it consisted of.
import { counted, grouped, human, moment, percent } from "./format.js";
import { bar, el, swatch } from "./dom.js";
import { KINDS } from "./run.js";
import { focus } from "./timeline.js";

/** Members of a program that are listed when it is opened. */
const MEMBERS = 25;

const KIND_NAMES = { anon: "anonymous", file: "files", shmem: "shared memory", swap: "swapped out" };

/** What the rows' own peaks within a range sum to; of those that stand for several, the largest one counts. */
function sumOfPeaksIn(run, range) {
  let sum = 0;
  for (let row = 0; row < run.rows.count; row += 1) sum += run.rowPeakIn(row, range);
  return sum;
}

/** What kinds of memory it was, for a reader who points at it. */
function kindsOf(held) {
  const parts = KINDS.filter((kind) => held[kind] > 0);
  return parts.map((kind) => `${KIND_NAMES[kind]} ${human(held[kind])}`).join(", ");
}

/** Programs with what they held, largest first. */
function groups(run, holders) {
  const byName = new Map();
  for (const holder of holders) {
    const layer = run.rows.layer[holder.row];
    const name = run.rows.name[holder.row];
    const group = byName.get(name) ?? { name, layer, rss: 0, shared: 0, count: 0, anon: 0, file: 0, shmem: 0, swap: 0, members: [] };
    for (const kind of KINDS) group[kind] += holder[kind];
    group.rss += holder.rss;
    group.shared += holder.shared;
    group.count += holder.count;
    group.members.push(holder);
    byName.set(name, group);
  }
  return [...byName.values()].sort((a, b) => b.rss - a.rss);
}

function numbers(held, total) {
  return [
    el("td", { class: "number" }, human(held)),
    el("td", { class: "number" }, percent(held, total)),
    el("td", { class: "number bytes", "data-bytes": held }, grouped(held)),
  ];
}

function memberRows(run, group, total) {
  const rows = group.members.slice(0, MEMBERS).map((holder) => {
    const several = run.rows.pid[holder.row] === 0;
    const fork = run.rows.fork[holder.row] ? " (fork)" : "";
    const name = several ? `${counted(holder.count, "smaller one", "smaller ones")}` : `[${run.rows.pid[holder.row]}]${fork}`;
    return el(
      "tr",
      { class: "member" },
      el("th", { scope: "row" }, name),
      el("td", { class: "barcell", title: kindsOf(holder) }, bar(holder.rss, total, group.layer)),
      numbers(holder.rss, total).map((cell) => (cell.removeAttribute("data-bytes"), cell)),
    );
  });
  const rest = group.members.slice(MEMBERS);
  if (rest.length > 0) {
    const held = rest.reduce((sum, holder) => sum + holder.rss, 0);
    const row = el("tr", { class: "member" }, el("th", { scope: "row" }, `${rest.length} more`), el("td", {}));
    row.append(...numbers(held, total).map((cell) => (cell.removeAttribute("data-bytes"), cell)));
    rows.push(row);
  }
  return rows;
}

/** The section with the bars. */
export function holdersSection(run, state) {
  const title = el("h2", {});
  const body = el("tbody", {});
  const sum = el("tfoot", {});
  const words = el("p", { class: "quiet" });
  const open = new Set();
  let touched = false;
  const update = () => {
    const peak = run.peakIn(state.range);
    const holders = run.holders(peak);
    const total = holders.reduce((all, holder) => all + holder.rss, 0);
    title.textContent = state.range ? "Who made the peak of the range" : "Who made the peak";
    const list = groups(run, holders);
    // What holds most is open until somebody decides otherwise.
    if (!touched) {
      open.clear();
      if (list.length > 0 && list[0].count <= 10) open.add(list[0].name);
    }
    const shown = list.length <= 13 ? list : list.slice(0, 12);
    body.replaceChildren(
      ...shown.flatMap((group) => {
        const several = group.count > 1;
        const times = several ? ` ×${grouped(group.count)}` : ` [${run.rows.pid[group.members[0].row]}]`;
        const label = [swatch(group.layer), el("span", {}, group.name + times)];
        const toggle = () => {
          touched = true;
          if (!open.delete(group.name)) open.add(group.name);
          update();
          body.querySelector(`[data-group="${CSS.escape(group.name)}"]`)?.focus();
        };
        const attributes = { type: "button", class: "plain", "aria-expanded": String(open.has(group.name)), click: toggle };
        const head = several ? el("button", { ...attributes, "data-group": group.name }, label) : el("span", { class: "plain" }, label);
        const row = el(
          "tr",
          {},
          el("th", { scope: "row" }, head),
          el("td", { class: "barcell", title: kindsOf(group) }, bar(group.rss, total, group.layer)),
          numbers(group.rss, total),
        );
        return open.has(group.name) && several ? [row, ...memberRows(run, group, total)] : [row];
      }),
    );
    const rest = list.slice(shown.length);
    if (rest.length > 0) {
      const held = rest.reduce((all, group) => all + group.rss, 0);
      const name = `${rest.length} other programs`;
      body.append(
        el("tr", {}, el("th", { scope: "row" }, el("span", { class: "plain" }, swatch(7), name)), el("td", { class: "barcell" }, bar(held, total, 7)), numbers(held, total)),
      );
    }
    sum.replaceChildren(el("tr", { id: "holders-sum" }, el("th", { scope: "row" }, "Sum"), el("td", {}), numbers(total, total)));
    const difference = Math.abs(total - peak.rss);
    const equal = difference === 0 ? "to the byte the peak" : `${grouped(difference)} bytes off the peak, because records are missing`;
    const sumOfPeaks = state.range ? sumOfPeaksIn(run, state.range) : run.peak.sumOfPeaks;
    const apart = sumOfPeaks > peak.rss * 1.01 ? ` Single peaks sum to ${human(sumOfPeaks)}; they did not coincide.` : "";
    words.textContent = `RSS at ${moment(peak.at, run.width)}; the sum is ${equal}.${apart}`;
  };
  state.listen((changed) => changed.has("range") && update());
  update();
  const head = ["Program", "", "Held", "Share", "Bytes"].map((name, i) => el("th", { scope: "col", class: i > 1 ? "number" : false }, name));
  return el(
    "section",
    { class: "card", id: "holders", "aria-label": "Who made the peak" },
    title,
    el("table", { class: "bars" }, el("thead", {}, el("tr", {}, head)), body, sum),
    words,
  );
}

/** The section that says what kind of memory it was. */
export function compositionSection(run, state) {
  const when = el("p", { class: "quiet" });
  const body = el("tbody", {});
  const update = () => {
    const now = focus(run, state);
    const whole = Math.max(now.rss + now.swap, 1);
    when.textContent = `${now.kind === "peak" ? "At the peak" : now.kind === "max" ? "Maximum at" : "At"} ${moment(now.at, run.width)}`;
    const row = (name, bytes, look) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, name),
        el("td", { class: "barcell" }, bar(bytes, whole, look)),
        el("td", { class: "number", "data-kind": look, "data-bytes": bytes }, human(bytes)),
      );
    body.replaceChildren(...KINDS.map((kind) => row(KIND_NAMES[kind], now[kind], kind)));
    if (now.shared > 0) body.append(row("shared after fork, at most", now.shared, "forked"));
  };
  state.listen((changed) => ["range", "hover", "pin"].some((name) => changed.has(name)) && update());
  update();
  return el(
    "section",
    { class: "card", id: "composition", "aria-label": "Composition" },
    el("h2", {}, "What it consisted of"),
    el("table", { class: "bars" }, body),
    when,
  );
}
