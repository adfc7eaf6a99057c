// The processes as a tree over time; like ones in one row, the colour tells how much they held.
import { counted, human, timeLabel, timeTicks } from "./format.js";
import { chooser } from "./choose.js";
import { tellingCommands } from "./commands.js";
import { el, onWidth, svg } from "./dom.js";

/** Steps of the colour scale. */
const LEVELS = 6;
/** Lanes of a row of several processes, at most. */
const LANES = 10;
/** Rows shown at first, and members shown of a row of several. */
const TREE_ROWS = 150;
const LISTED = 40;

/** Merges processes whose ancestors have the same names. */
export function nameTree(run) {
  const { name, parent } = run.processes;
  const root = { name: "", children: new Map(), processes: [], depth: -1 };
  const nodes = [];
  name.forEach((own, i) => {
    // Parents come before their children.
    const above = parent[i] >= 0 ? nodes[parent[i]] : root;
    let node = above.children.get(own);
    if (!node) {
      node = { name: own, children: new Map(), processes: [], depth: above.depth + 1 };
      above.children.set(own, node);
    }
    node.processes.push(i);
    nodes.push(node);
  });
  return root;
}

/** Assigns each process of a row the first lane that is free. */
function pack(run, processes) {
  const free = [];
  return processes.map((i) => {
    const [from, until] = life(run, i);
    let lane = free.findIndex((at) => at <= from);
    if (lane < 0) lane = free.length;
    free[lane] = until;
    return lane;
  });
}

function life(run, i) {
  const { start, end } = run.processes;
  const from = start.length ? start[i] : 0;
  return [from, end[i] < 0 ? run.end : Math.max(end[i], from)];
}

/** The level of an amount: equal steps of its square root, so that small ones differ too. */
function level(bytes, most) {
  if (bytes <= 0) return 0;
  return Math.min(LEVELS, 1 + Math.floor(Math.sqrt(bytes / Math.max(1, most)) * LEVELS));
}

/** The bars of processes as one path per level. */
function bars(run, processes, lanes, height, scale, most) {
  const paths = Array.from({ length: LEVELS + 1 }, () => "");
  const pitch = height / Math.max(1, Math.min(LANES, Math.max(...lanes) + 1));
  const thick = Math.max(1, pitch - (pitch > 3 ? 1 : 0.4));
  const put = (from, until, lane, bytes) => {
    const [x0, x1] = [Math.max(0, scale.x(from)), Math.min(scale.width, scale.x(until))];
    if (x1 < 0 || x0 > scale.width || x1 < x0) return;
    const y = (lane % LANES) * pitch;
    paths[level(bytes, most)] += `M${x0.toFixed(1)} ${y.toFixed(1)}h${Math.max(1, x1 - x0).toFixed(1)}v${thick.toFixed(1)}H${x0.toFixed(1)}z`;
  };
  processes.forEach((i, n) => {
    const [from, until] = life(run, i);
    put(from, until, lanes[n], 0);
    for (const row of run.processes.rows[i]) {
      // Stretches that are too short to be seen are drawn together, as the largest of them.
      let [begin, most] = [null, 0];
      for (const [a, b, bytes] of run.stretches(row)) {
        begin ??= Math.max(a, from);
        most = Math.max(most, bytes);
        const stop = Math.min(b, until);
        if ((stop - begin) * scale.perNs < 1 && stop < until) continue;
        put(begin, stop, lanes[n], most);
        [begin, most] = [null, 0];
      }
      if (begin !== null) put(begin, until, lanes[n], most);
    }
  });
  // Who was part of the peak is outlined.
  let peakers = "";
  processes.forEach((i, n) => {
    if (!run.processes.rows[i].some((row) => run.rssAt(row, run.peak) > 0)) return;
    const [x0, x1] = life(run, i).map((at) => Math.max(0, Math.min(scale.width, scale.x(at))));
    if (x1 > x0) peakers += `M${x0.toFixed(1)} ${((lanes[n] % LANES) * pitch + thick - 0.5).toFixed(1)}H${x1.toFixed(1)}`;
  });
  const lines = peakers ? svg("path", { class: "peakers", d: peakers }) : null;
  return [...paths.map((d, at) => (d ? svg("path", { class: `level${at}`, d }) : null)), lines];
}

/** The section with the tree. */
export function treeSection(run, state) {
  const tree = nameTree(run);
  const { peak, oom } = run.processes;
  const peakOf = (i) => (peak.length ? peak[i] : 0);
  const most = Math.max(1, ...peak);
  const telling = tellingCommands(run.processes.name, run.processes.command);
  const closed = new Set();
  const listed = new Set();
  let limit = TREE_ROWS;
  let width = 0;
  const rowsBox = el("div", { class: "treerows", role: "tree", "aria-label": "Processes over time" });
  const axis = svg("svg", { class: "treeaxis", height: 20, "aria-hidden": "true" });
  const measure = el("div", { class: "wide" }, axis);
  const more = el("button", { type: "button", click: () => ((limit *= 4), render()) }, "Show more");
  const cursors = [];

  const alive = (i) => {
    const range = state.range ?? state.zoom;
    const [from, until] = life(run, i);
    return !range || (from <= range[1] && until >= range[0]);
  };

  function rowOf(node, key, processes, member) {
    const lanes = member ? [0] : pack(run, processes);
    const count = processes.length;
    const stacked = Math.min(LANES, Math.max(...lanes) + 1);
    const height = stacked === 1 ? 12 : Math.max(14, stacked * 5);
    const [from, until] = state.zoom ?? [0, run.end];
    const perNs = width / (until - from);
    const scale = { width, perNs, x: (at) => (at - from) * perNs };
    const largest = Math.max(...processes.map(peakOf));
    const open = !closed.has(key);
    const indent = "\u00a0\u00a0".repeat(Math.min(12, node.depth + (member ? 1 : 0)));
    const foldable = !member && node.children.size > 0;
    const name = member ? `[${run.processes.pid[processes[0]]}]` : node.name;
    const title = { class: "name", title: member ? run.processes.command[processes[0]] : node.name };
    const flip = (set) => () => {
      if (!set.delete(key)) set.add(key);
      render();
      rowsBox.querySelector(`[data-key="${CSS.escape(key)}"]`)?.querySelector("button")?.focus();
    };
    const many = { type: "button", class: "chip", title: "List them", "aria-expanded": String(listed.has(key)), click: flip(listed) };
    const killed = processes.some((i) => oom[i]);
    const cursor = svg("path", { class: "cursor", "data-height": height });
    cursors.push([cursor, scale]);
    const pids = member ? el("small", {}, telling[processes[0]]) : count === 1 ? el("small", {}, ` [${run.processes.pid[processes[0]]}]`) : null;
    const label = [
      indent,
      foldable ? el("button", { type: "button", class: "fold", "aria-label": `${open ? "Fold" : "Unfold"} ${name}`, click: flip(closed) }, open ? "▾" : "▸") : el("span", { class: "fold" }),
      count === 1 ? chooser(run, state, processes[0], name, title) : el("span", title, name),
      pids,
      count > 1 ? el("button", many, `×${count}`) : null,
      killed ? el("span", { class: "killed" }, "OOM") : null,
    ];
    return el(
      "div",
      {
        class: "aligned treerow",
        role: "treeitem",
        "data-key": key,
        "aria-level": node.depth + 1 + (member ? 1 : 0),
        "aria-expanded": foldable ? String(open) : false,
        "aria-label": `${name}, ${counted(count, "process", "processes")}, largest peak ${human(largest)}`,
      },
      el("div", { class: "side" }, el("span", { class: "treelabel" }, label), el("span", { class: "number quiet" }, human(largest))),
      el("div", { class: "wide" }, svg("svg", { class: "lives", width, height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars(run, processes, lanes, height, scale, most), cursor)),
    );
  }

  function render() {
    if (width === 0) return;
    cursors.length = 0;
    const rows = [];
    let hidden = 0;
    const visit = (node, path) => {
      for (const child of node.children.values()) {
        const key = `${path}/${child.name}`;
        const processes = child.processes.filter(alive);
        if (processes.length > 0) {
          if (rows.length < limit) rows.push(rowOf(child, key, processes, false));
          else hidden += 1;
          if (listed.has(key)) {
            const members = [...processes].sort((a, b) => peakOf(b) - peakOf(a)).slice(0, LISTED);
            for (const i of members) rows.push(rowOf(child, `${key}#${i}`, [i], true));
          }
        }
        if (!closed.has(key) && child.depth < 200) visit(child, key);
      }
    };
    visit(tree, "");
    rowsBox.replaceChildren(...rows);
    more.hidden = hidden === 0;
    more.textContent = `Show more (${hidden} rows)`;
    const times = timeTicks(...(state.zoom ?? [0, run.end]), width / 96);
    const [from, until] = state.zoom ?? [0, run.end];
    axis.setAttribute("width", width);
    axis.setAttribute("viewBox", `0 0 ${width} 20`);
    axis.replaceChildren(
      ...times.ticks.map((at) => {
        const x = ((at - from) / (until - from)) * width;
        const anchor = x < 18 ? "start" : x > width - 18 ? "end" : "middle";
        return svg("text", { class: "mt-dim", x, y: 14, "text-anchor": anchor }, timeLabel(at, times.step));
      }),
    );
    overlay();
  }

  function overlay() {
    const at = state.hover ?? state.pin ?? run.peak.at;
    for (const [cursor, scale] of cursors) {
      const x = scale.x(at);
      const shown = x >= 0 && x <= scale.width;
      cursor.setAttribute("d", shown ? `M${x.toFixed(1)} 0V${cursor.dataset.height}` : "");
    }
  }

  onWidth(measure, (now) => {
    width = now;
    render();
  });
  state.listen((changed) => {
    if (changed.has("zoom") || changed.has("range")) render();
    else if (changed.has("hover") || changed.has("pin")) overlay();
  });
  const squares = Array.from({ length: LEVELS }, (_, i) =>
    svg("svg", { class: "swatch", width: 18, height: 10, "aria-hidden": "true" }, svg("rect", { class: `level${i + 1}`, width: 18, height: 10 })),
  );
  const left = run.processes.left_out;
  return el(
    "section",
    { class: "card", id: "tree", "aria-label": "Process tree" },
    el(
      "div",
      { class: "title" },
      el("h2", {}, "Process tree"),
      el("span", { class: "quiet scale" }, "memory held: 0 ", squares, ` ${human(most)}`),
    ),
    el("div", { class: "aligned" }, el("div", { class: "side quiet" }, el("span", {}, "program"), el("span", {}, "largest peak")), measure),
    rowsBox,
    more,
    el("p", { class: "quiet key" }, "Underlined: who was part of the peak."),
    left > 0 ? el("p", { class: "quiet" }, `${counted(left, "process", "processes")} with smaller peaks not shown.`) : null,
  );
}
