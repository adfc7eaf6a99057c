// Amounts, times and shares as people read them; the same as in the rest of memtrace.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/** An amount of memory, rounded to one decimal: `0 B`, `1.5 KiB`, `224.0 MiB`. */
export function human(bytes) {
  if (bytes < 0) return "−" + human(-bytes);
  if (bytes < 1024) return `${bytes} B`;
  let scale = 1024;
  for (const unit of UNITS) {
    const tenths = Math.floor((bytes * 10 + scale / 2) / scale);
    if (tenths < 10240 || unit === "PiB") return `${Math.floor(tenths / 10)}.${tenths % 10} ${unit}`;
    scale *= 1024;
  }
  return `${bytes} B`;
}

/** A number with a comma after every three digits. */
export function grouped(number) {
  return String(Math.abs(number)).replace(/\B(?=(\d{3})+$)/g, ",").replace(/^/, number < 0 ? "−" : "");
}

/** A time in seconds with milliseconds, cut, not rounded: `12.304 s`. */
export function seconds(ns) {
  const ms = Math.floor(ns / 1e6);
  return `${Math.floor(ms / 1000)}.${String(ms % 1000).padStart(3, "0")} s`;
}

/** A moment, with as many decimals as tell neighbours that are `step` apart from each other. */
export function moment(ns, step) {
  const decimals = step >= 1e6 || step === 0 ? 3 : step >= 1e3 ? 6 : 9;
  const whole = Math.floor(ns / 1e9);
  const rest = String(Math.floor(ns % 1e9)).padStart(9, "0").slice(0, decimals);
  return `+${whole}.${rest} s`;
}

/** A duration in the largest sensible unit. */
export function duration(ns) {
  const pad = (number, width) => String(Math.floor(number)).padStart(width, "0");
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 1e6) return `${Math.floor(ns / 1e3)}.${Math.floor((ns % 1e3) / 100)} us`;
  if (ns < 1e9) return `${Math.floor(ns / 1e6)}.${pad((ns % 1e6) / 1e3, 3)} ms`;
  if (ns < 60e9) return seconds(ns);
  if (ns < 3600e9) return `${Math.floor(ns / 60e9)} min ${pad((ns % 60e9) / 1e9, 2)}.${pad((ns % 1e9) / 1e8, 1)} s`;
  return `${Math.floor(ns / 3600e9)} h ${pad((ns % 3600e9) / 60e9, 2)} min`;
}

/** A part of a whole in per cent: `12.3 %`. */
export function percent(part, whole) {
  return whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : "";
}

/** A change with its sign. */
export function change(bytes) {
  return bytes > 0 ? `+${human(bytes)}` : human(bytes);
}

/** `1 process`, `2 processes`. */
export function counted(count, one, many) {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** Round amounts from 0 to at least `most`, in about `count` steps that are round in their unit. */
export function amountTicks(most, count) {
  const least = Math.max(1, Math.ceil(most / Math.max(1, count)));
  let step = 0;
  for (let unit = 1; step === 0; unit *= 1024) {
    // 1,000 of a unit is not round in the next one.
    const steps = most < 1000 * unit ? [1, 2, 5, 10, 20, 50, 100, 200, 500] : [1, 2, 5, 10, 20, 50, 256, 512];
    step = steps.map((n) => n * unit).find((n) => n >= least) ?? 0;
  }
  return Array.from({ length: Math.max(1, Math.ceil(most / step)) + 1 }, (_, i) => i * step);
}

/** An amount on an axis. */
export function amountLabel(bytes) {
  let [scale, name] = [1, "B"];
  for (const unit of UNITS) {
    if (bytes < scale * 1024) break;
    [scale, name] = [scale * 1024, unit];
  }
  return `${parseFloat((bytes / scale).toFixed(2))} ${name}`;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];

/** Round moments between two, and the step between them. */
export function timeTicks(from, until, count) {
  const least = Math.max(1, (until - from) / Math.max(1, count));
  let step = 0;
  for (let power = 1; power < 1e9 && step === 0; power *= 10) {
    step = [1, 2, 5].map((n) => n * power).find((n) => n >= least) ?? 0;
  }
  step = step || (STEPS.find((n) => n * 1e9 >= least) ?? Math.ceil(least / 86400e9) * 86400) * 1e9;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= until; at += step) ticks.push(at);
  return { ticks, step };
}

/** A moment on an axis whose steps are `step` apart. */
export function timeLabel(ns, step) {
  if (ns === 0) return "0";
  const pad = (number) => String(number).padStart(2, "0");
  if (ns >= 60e9) {
    const whole = Math.floor(ns / 1e9);
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const fraction = step < 1e9 ? (ns % 1e9 / 1e9).toFixed(step < 1e6 ? 6 : 3).slice(1) : "";
    return (hours > 0 ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`) + fraction;
  }
  const [unit, name] = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]].find(([size]) => Math.max(ns, step) >= size);
  return `${parseFloat((ns / unit).toFixed(6))} ${name}`;
}

/** A field of CSV. Text that a spreadsheet would take for a formula is kept from being one. */
export function csvField(value) {
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
