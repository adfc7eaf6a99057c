// Sections that the page has without scripts too: moved into the view, with links into the timeline.
import { el } from "./dom.js";

/** Takes the sections out of the markup; by what they are about and by run. */
export function insights() {
  const found = [...document.querySelectorAll("#static .insight")];
  for (const section of found) section.remove();
  return found;
}

/** Turns the heads of rows that belong to a moment into buttons that go there. */
function link(section, run, state) {
  for (const row of section.querySelectorAll("tr[data-at]")) {
    const head = row.querySelector("th");
    const [at, from, until] = ["at", "from", "until"].map((name) => Number(row.dataset[name]));
    if (head.querySelector("button") || Number(row.dataset.bytes) === 0) continue;
    const go = () => {
      const range = until > from ? run.snapped(from, until) : null;
      const around = range ? 12 * (range[1] - range[0]) : 0;
      const zoom = range ? [Math.max(0, range[0] - around), Math.min(run.end, range[1] + around)] : null;
      state.set({ range, pin: at, hover: null });
      if (zoom) state.zoomTo(zoom);
      document.querySelector("#timeline").scrollIntoView({ block: "center" });
      document.querySelector("#timeline .plot").focus({ preventScroll: true });
    };
    head.replaceChildren(el("button", { type: "button", class: "plain go", title: "Show in the timeline", click: go }, ...head.childNodes));
  }
}

/** The sections about one run. */
export function insightsOf(sections, index, run, state) {
  const own = sections.filter((section) => section.dataset.run === String(index));
  for (const section of own) link(section, run, state);
  return own;
}
