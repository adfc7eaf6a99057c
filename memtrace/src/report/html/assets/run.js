// The data of a run, and the questions that the page asks of it. No element in here.

export const KINDS = ["anon", "file", "shmem", "swap"];

/** A column of numbers; an empty list stands for zeros. */
function column(numbers, length) {
  const out = new Float64Array(length);
  if (numbers.length > 0) out.set(numbers);
  return out;
}

function amounts(columns, length) {
  return Object.fromEntries(KINDS.map((kind) => [kind, column(columns[kind], length)]));
}

/** The number of elements that are not above `value`, in an ordered array between two indices. */
export function upperBound(array, value, low = 0, high = array.length) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (array[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const rssOf = (columns, i) => columns.anon[i] + columns.file[i] + columns.shmem[i];

export class Run {
  constructor(data) {
    Object.assign(this, {
      title: data.title,
      figure: data.figure,
      label: data.label,
      limit: data.limit,
      end: data.end_ns,
      width: data.width_ns,
      recordedWidth: data.recorded_width_ns,
      recordedSpans: data.recorded_spans,
      layers: data.layers,
      losses: data.losses,
      images: data.images,
      processes: data.processes,
      segments: data.segments ?? null,
    });
    this.count = data.windows.count;
    const w = data.windows;
    this.start = column(w.start, this.count);
    this.min = column(w.min, this.count);
    this.max = column(w.max, this.count);
    this.maxAt = column(w.max_at, this.count);
    this.atMax = amounts(w.at_max, this.count);
    this.last = amounts(w.last, this.count);
    this.shared = column(w.shared, this.count);
    const s = data.snapshots;
    this.snapshots = { count: s.count, at: column(s.at, s.count), pss: column(s.pss, s.count), uss: column(s.uss, s.count), rss: column(s.rss, s.count) };
    this.readRows(data.rows);
    this.readPeak(data.peak);
    this.readStacks();
  }

  readRows(rows) {
    const count = rows.name.length;
    const entries = rows.first[count];
    this.rows = {
      count,
      name: rows.name,
      pid: column(rows.pid, count),
      layer: column(rows.layer, count),
      images: column(rows.count, count),
      fork: rows.fork,
      start: column(rows.start, count),
      end: column(rows.end, count),
      first: rows.first,
      window: column(rows.window, entries),
      max: column(rows.max, entries),
      atMax: amounts(rows.at_max, entries),
      last: amounts(rows.last, entries),
    };
  }

  readPeak(peak) {
    const count = peak.row.length;
    const held = amounts(peak, count);
    const counts = peak.count;
    const shared = column(peak.shared, count);
    const holders = peak.row.map((row, i) => ({
      row,
      count: counts[i],
      shared: shared[i],
      rss: rssOf(held, i),
      ...Object.fromEntries(KINDS.map((kind) => [kind, held[kind][i]])),
    }));
    this.peak = {
      kind: "peak",
      at: peak.at_ns,
      rss: peak.rss_bytes,
      average: peak.average_rss_bytes,
      sumOfPeaks: peak.sum_of_peaks_bytes,
      shared: holders.reduce((sum, holder) => sum + holder.shared, 0),
      holders,
      ...Object.fromEntries(KINDS.map((kind) => [kind, holders.reduce((sum, holder) => sum + holder[kind], 0)])),
    };
  }

  /** What the layers held in each window: at the instant of its maximum, and after it. */
  readStacks() {
    const { rows, count } = this;
    const make = () => this.layers.map(() => new Float64Array(count + 2));
    this.stackAtMax = make();
    this.stackLast = make();
    for (let row = 0; row < rows.count; row += 1) {
      const [atMax, last] = [this.stackAtMax[rows.layer[row]], this.stackLast[rows.layer[row]]];
      for (let e = rows.first[row]; e < rows.first[row + 1]; e += 1) {
        const window = rows.window[e];
        const next = e + 1 < rows.first[row + 1] ? rows.window[e + 1] : count;
        const [most, after] = [rssOf(rows.atMax, e), rssOf(rows.last, e)];
        atMax[window] += most;
        atMax[window + 1] += after - most;
        atMax[next] -= after;
        last[window] += after;
        last[next] -= after;
      }
    }
    for (const stack of [...this.stackAtMax, ...this.stackLast]) {
      for (let i = 1; i < count; i += 1) stack[i] += stack[i - 1];
    }
  }

  /** The last window that has begun at `at`; -1 if none has. */
  windowAt(at) {
    return upperBound(this.start, at) - 1;
  }

  /** The snapshot that was taken closest to a moment, or -1. */
  snapshotNear(at) {
    let best = -1;
    for (let i = 0; i < this.snapshots.count; i += 1) {
      if (best < 0 || Math.abs(this.snapshots.at[i] - at) < Math.abs(this.snapshots.at[best] - at)) best = i;
    }
    return best;
  }

  /** What the tree needed after a window: without what is shared after fork. */
  neededAfter(window) {
    return Math.max(0, rssOf(this.last, window) - this.shared[window]);
  }

  /** Where a window ends: after its width, at the latest where the next one begins. */
  windowEnd(window) {
    const next = window + 1 < this.count ? this.start[window + 1] : this.end;
    return Math.min(this.start[window] + this.width, Math.max(next, this.start[window]));
  }

  /** A range moved outwards to the edges of the windows that it cuts. */
  snapped(from, until) {
    let [low, high] = [Math.max(0, Math.min(from, until)), Math.min(this.end, Math.max(from, until))];
    const first = this.windowAt(low);
    if (first >= 0 && low < this.windowEnd(first)) low = this.start[first];
    const last = this.windowAt(high);
    if (last >= 0 && high > this.start[last] && high < this.windowEnd(last)) high = this.windowEnd(last);
    return [low, high];
  }

  /** The tree in a window, at the instant of its maximum (`max`) or after it (`last`). */
  at(window, kind) {
    if (window < 0) return { kind: "none", window, at: 0, rss: 0, shared: 0, anon: 0, file: 0, shmem: 0, swap: 0 };
    const columns = kind === "max" ? this.atMax : this.last;
    return {
      kind,
      window,
      at: kind === "max" ? this.maxAt[window] : this.windowEnd(window),
      rss: rssOf(columns, window),
      shared: this.shared[window],
      ...Object.fromEntries(KINDS.map((name) => [name, columns[name][window]])),
    };
  }

  /** The tree around `at`: the maximum of its window, or what lasted since the one before. */
  momentAt(at) {
    const window = this.windowAt(at);
    const inside = window >= 0 && (at < this.windowEnd(window) || at === this.start[window]);
    return inside ? this.at(window, "max") : { ...this.at(window, "last"), at };
  }

  /** First and one past the last window of a range of whole windows. */
  windowsIn([from, until]) {
    const first = this.windowAt(from);
    const low = first >= 0 && this.start[first] === from ? first : first + 1;
    let high = this.windowAt(until);
    high = high >= 0 && this.start[high] === until && until < this.end ? high : high + 1;
    return [low, Math.max(low, high)];
  }

  /** The peak within a range of whole windows, the whole run for null; with the least beside it. */
  peakIn(range) {
    if (!range) return this.peak;
    const [low, high] = this.windowsIn(range);
    // What it enters with, unless a window that begins there says so.
    const enters = low >= high || this.start[low] > range[0];
    let best = enters ? { ...this.at(low - 1, "last"), at: range[0] } : null;
    let least = best ? best.rss : Infinity;
    for (let w = low; w < high; w += 1) {
      if (!best || this.max[w] > best.rss) best = this.at(w, "max");
      least = Math.min(least, this.min[w]);
    }
    return { ...best, least };
  }

  /** The entry of a row that holds at a window: the last one not after it; -1 before the first. */
  entryAt(row, window) {
    const { first, window: windows } = this.rows;
    const found = upperBound(windows, window, first[row], first[row + 1]) - 1;
    return found >= first[row] ? found : -1;
  }

  /** What one row held at a moment: the columns and the index in them, or null for nothing. */
  heldBy(row, moment) {
    const entry = moment.window < 0 ? -1 : this.entryAt(row, moment.window);
    if (entry < 0) return null;
    const own = moment.kind === "max" && this.rows.window[entry] === moment.window;
    return [own ? this.rows.atMax : this.rows.last, entry];
  }

  /** Who held what at a moment, largest first; sums to it. */
  holders(moment) {
    const holders = moment.kind === "peak" ? [...moment.holders] : [];
    for (let row = 0; moment.kind !== "peak" && row < this.rows.count; row += 1) {
      const held = this.heldBy(row, moment);
      if (!held) continue;
      const [columns, i] = held;
      const rss = rssOf(columns, i);
      if (rss === 0) continue;
      const parts = Object.fromEntries(KINDS.map((kind) => [kind, columns[kind][i]]));
      holders.push({ row, count: this.rows.images[row], shared: 0, rss, ...parts });
    }
    return holders.sort((a, b) => b.rss - a.rss);
  }

  /** What a row held at a moment. */
  rssAt(row, moment) {
    if (moment.kind === "peak") {
      this.peakByRow ??= new Map(moment.holders.map((holder) => [holder.row, holder.rss]));
      return this.peakByRow.get(row) ?? 0;
    }
    const held = this.heldBy(row, moment);
    return held ? rssOf(...held) : 0;
  }

  /** The largest that a row reached within a range of whole windows. */
  rowPeakIn(row, range) {
    const { rows } = this;
    const [low, high] = this.windowsIn(range);
    let entry = this.entryAt(row, low - 1);
    let most = entry >= 0 ? rssOf(rows.last, entry) : 0;
    entry = entry >= 0 ? entry + 1 : rows.first[row];
    for (; entry < rows.first[row + 1] && rows.window[entry] < high; entry += 1) most = Math.max(most, rows.max[entry]);
    return most;
  }

  /** What each layer holds at a moment. */
  layersAt(moment) {
    if (moment.kind === "peak") {
      const sums = this.layers.map(() => 0);
      for (const holder of moment.holders) sums[this.rows.layer[holder.row]] += holder.rss;
      return sums;
    }
    const stacks = moment.kind === "max" ? this.stackAtMax : this.stackLast;
    return this.layers.map((_, layer) => (moment.window < 0 ? 0 : stacks[layer][moment.window]));
  }

  /** Cuts a range into columns of a drawing: least, largest, and the window that has the largest. */
  columns(from, until, count) {
    const out = {
      min: new Float64Array(count),
      max: new Float64Array(count).fill(-1),
      window: new Int32Array(count).fill(-1),
      last: new Uint8Array(count),
    };
    const scale = count / (until - from);
    const put = (begin, end, min, max, window, last) => {
      if (end <= from || begin >= until) return;
      const first = Math.max(0, Math.floor((begin - from) * scale));
      const stop = Math.min(count, Math.max(first + 1, Math.ceil((end - from) * scale - 1e-9)));
      for (let c = first; c < stop; c += 1) {
        out.min[c] = out.max[c] < 0 ? min : Math.min(out.min[c], min);
        if (max > out.max[c]) {
          out.max[c] = max;
          out.window[c] = window;
          out.last[c] = last;
        }
      }
    };
    const first = Math.max(0, this.windowAt(from));
    for (let w = first; w < this.count && this.start[w] < until; w += 1) {
      const end = this.windowEnd(w);
      const next = w + 1 < this.count ? this.start[w + 1] : this.end;
      put(this.start[w], Math.max(end, this.start[w] + 1), this.min[w], this.max[w], w, 0);
      if (next > end) {
        const rss = rssOf(this.last, w);
        put(end, next, rss, rss, w, 1);
      }
    }
    for (let c = 0; c < count; c += 1) out.max[c] = Math.max(0, out.max[c]);
    return out;
  }

  /** What the image of a row held over time: `[from, until, bytes]`, the most of each window. */
  *stretches(row) {
    const { rows } = this;
    for (let e = rows.first[row]; e < rows.first[row + 1]; e += 1) {
      const window = rows.window[e];
      const next = e + 1 < rows.first[row + 1] ? this.start[rows.window[e + 1]] : Math.max(rows.end[row], this.start[window]);
      const end = Math.min(this.windowEnd(window), next);
      yield [this.start[window], end, rows.max[e]];
      if (next > end) yield [end, next, rssOf(rows.last, e)];
    }
  }
}
