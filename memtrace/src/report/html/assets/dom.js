// Elements. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of HTML. Attributes that are functions are listeners. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The patterns over the layers, by layer; those without one are told apart by their neighbours. */
const PATTERN = { 1: "mt-p1", 2: "mt-p2", 3: "mt-p3", 5: "mt-p5", 6: "mt-p6" };

/** The class of the pattern over a layer, or undefined. */
export function patternOf(layer) {
  return PATTERN[layer];
}

/** What the classes of the patterns refer to; once per page. */
export function patternDefinitions() {
  const line = (id, size, angle, path, ink = "mt-ink") =>
    svg(
      "pattern",
      { id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${angle})` },
      svg("path", { class: ink, d: path }),
    );
  return svg(
    "svg",
    { class: "definitions", width: 0, height: 0, "aria-hidden": "true" },
    svg(
      "defs",
      {},
      line("mt-up", 6, 45, "M0 0V6"),
      line("mt-down", 6, -45, "M0 0V6"),
      line("mt-flat", 5, 0, "M0 0H5"),
      line("mt-cross", 7, 45, "M0 0V7M0 0H7"),
      line("mt-gap", 8, 45, "M0 0V8", "mt-gapink"),
      svg(
        "pattern",
        { id: "mt-dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" },
        svg("circle", { class: "mt-inkdot", cx: 3, cy: 3, r: 1 }),
      ),
    ),
  );
}

/** The colour and pattern of a layer. */
export function swatch(layer) {
  const square = (name) => svg("rect", { class: name, width: 12, height: 12, rx: 2 });
  return svg(
    "svg",
    { class: "swatch", width: 12, height: 12, "aria-hidden": "true" },
    square(`mt-l${layer}`),
    patternOf(layer) ? square(patternOf(layer)) : null,
  );
}

/** A bar as long as `part` of `whole`, in the look of a layer or in a class. */
export function bar(part, whole, look) {
  const width = `${whole > 0 ? Math.min(100, (part / whole) * 100).toFixed(3) : 0}%`;
  const shape = (name) => svg("rect", { class: name, width, height: 14, rx: 2 });
  const layer = typeof look === "number";
  return svg(
    "svg",
    { class: "hbar", width: "100%", height: 14, "aria-hidden": "true" },
    shape(layer ? `mt-l${look}` : look),
    layer && patternOf(look) ? shape(patternOf(look)) : null,
  );
}

/** Calls back with the element's width, now and whenever it changes. */
export function onWidth(element, callback) {
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(element.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      callback(now);
    }
  }).observe(element);
}

/** Puts text on the clipboard; resolves to whether that worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
