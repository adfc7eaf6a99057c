// What is shown below the headline: one run, or the comparison of two.
import { compositionSection, holdersSection } from "./holders.js";
import { growthSection, overlaySection } from "./compare.js";
import { insightsOf } from "./insight.js";
import { tableSection } from "./table.js";
import { timelineSection } from "./timeline.js";
import { segmentsSection } from "./segments.js";
import { treeSection } from "./tree.js";
import { el } from "./dom.js";

/** The sections for one run. */
export function runView(run, state, sections, index) {
  const insights = insightsOf(sections, index, run, state);
  return [
    timelineSection(run, state),
    el("div", { class: "answers" }, holdersSection(run, state), compositionSection(run, state)),
    treeSection(run, state),
    run.segments ? segmentsSection(run, state) : null,
    insights.length > 0 ? el("div", { class: insights.length > 1 ? "answers even" : "" }, insights) : null,
    tableSection(run, state),
  ].filter(Boolean);
}

/** The sections for two runs. */
export function compareView(runs, growth, state, sections) {
  const peaks = sections.filter((section) => section.dataset.insight === "peaks");
  return [overlaySection(runs, state), ...peaks, growthSection(runs, growth, state)];
}
