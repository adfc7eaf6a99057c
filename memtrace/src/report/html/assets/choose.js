// Names of processes that can be looked at closer.
import { el } from "./dom.js";

/** The name as a button that shows what the process's memory was for, where that is known; else just the name. */
export function chooser(run, state, process, name, attributes = {}) {
  if (!run.segments?.process.includes(process)) return el("span", attributes, name);
  const choose = () => {
    state.set({ process });
    const section = document.querySelector("#segments");
    section.scrollIntoView({ block: "center" });
    section.querySelector(".plot").focus({ preventScroll: true });
  };
  const look = `plain go ${attributes.class ?? ""}`;
  return el("button", { type: "button", title: "What its memory was for, over time", ...attributes, class: look, click: choose }, name);
}
