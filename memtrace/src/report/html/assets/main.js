// Puts the page together.
import { el, patternDefinitions } from "./dom.js";
import { insights } from "./insight.js";
import { Run } from "./run.js";
import { State } from "./state.js";
import { compareView, runView } from "./view.js";

const KEYS =
  "In a timeline: left and right arrows move the cursor, with Shift they choose a range, Home and End go to the ends, " +
  "P to the peak. Enter zooms to the range, W and S zoom in and out, A and D move, Escape goes back. " +
  "Letters work wherever nothing is typed.";

/** A button that goes through the themes. */
function themeButton() {
  const names = ["auto", "light", "dark"];
  const kept = () => {
    try {
      return localStorage.getItem("memtrace-theme");
    } catch {
      return null;
    }
  };
  const button = el("button", { type: "button", id: "theme", click: () => use(names[(names.indexOf(now) + 1) % names.length]) });
  let now = names.includes(kept()) ? kept() : "auto";
  const use = (name) => {
    now = name;
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    try {
      localStorage.setItem("memtrace-theme", name);
    } catch {
      // The choice then lasts as long as the page.
    }
  };
  use(now);
  return button;
}

/** A button that tells the keys. */
function keysButton() {
  const dialog = el(
    "dialog",
    { "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, "Keys"),
    el(
      "table",
      { class: "keys" },
      el(
        "tbody",
        {},
        [
          ["← →", "move the cursor"],
          ["Shift ← →", "choose a range"],
          ["Home End", "to the ends"],
          ["P", "to the peak"],
          ["Enter", "zoom to the range, and back"],
          ["W S", "zoom in, out"],
          ["A D", "move left, right"],
          ["Esc", "give up the range, then the zoom step by step"],
        ].map(([keys, what]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, keys)), el("td", {}, what))),
      ),
    ),
    el("p", { class: "quiet" }, "Letters work everywhere, the others while the timeline has the focus. The address keeps what is chosen: copy it to show somebody the same."),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  return [el("button", { type: "button", click: () => dialog.showModal() }, "Keys"), dialog];
}

function main() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const growth = read("growth");
  const runs = data.runs.map((run) => new Run(run));
  const state = new State();
  const app = document.getElementById("app");
  const content = el("div", {});
  const sections = insights();
  const views = runs.length > 1 ? { "": "Comparison", a: "Only A", b: "Only B" } : { "": "" };
  const tabs = Object.entries(views).map(([view, name]) =>
    el("button", { type: "button", role: "tab", "data-view": view, click: () => show(view) }, name),
  );
  const show = (view) => {
    const known = view in views ? view : "";
    state.forget();
    state.trail = [];
    // Of another run, the same number is another process.
    state.set(known === state.view ? {} : { view: known, process: null });
    for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.view === known));
    const single = runs.length === 1 ? runs[0] : { a: runs[0], b: runs[1] }[known];
    if (state.range) {
      // A range of another run has other edges.
      const range = single ? single.snapped(...state.range) : state.range;
      state.set({ range: range[1] > range[0] ? range : null });
    }
    const end = single ? single.end : Math.max(...runs.map((run) => run.end));
    const inside = (range) => (range && range[0] < end ? [range[0], Math.min(range[1], end)] : null);
    state.set({ range: inside(state.range), zoom: inside(state.zoom), hover: null });
    content.replaceChildren(...(single ? runView(single, state, sections, runs.indexOf(single)) : compareView(runs, growth, state, sections)));
  };
  document.getElementById("tools").append(...keysButton(), themeButton());
  app.append(patternDefinitions(), el("p", { id: "keys", class: "offscreen" }, KEYS));
  if (tabs.length > 1) app.append(el("div", { class: "tabs", role: "tablist", "aria-label": "What to show" }, tabs));
  app.append(content);
  document.getElementById("static").remove();
  document.documentElement.classList.add("scripted");
  show(state.view);
  addEventListener("hashchange", () => {
    const wanted = state.read();
    const view = wanted.view;
    delete wanted.view;
    if (view !== state.view) show(view);
    state.set(wanted);
  });
  addEventListener("keydown", (event) => {
    // Where nothing has the focus, letters are the timeline's; elsewhere keys have a meaning of their own.
    const plot = document.querySelector(".plot");
    if (!plot || event.target !== document.body || !/^[wasdp+-]$/.test(event.key)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    plot.dispatchEvent(new KeyboardEvent("keydown", event));
    event.preventDefault();
  });
  document.documentElement.dataset.ready = "yes";
}

main();
