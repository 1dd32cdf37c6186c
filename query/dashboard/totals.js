// The figures at the top: visitors, views, views per visitor, and right now.

import { byId, hidden, make } from "./dom.js";
import { change as changeOf, count, days, points, ratio } from "./format.js";
import { change, current } from "./state.js";

const COMPARED = { previous_period: "the period before", previous_year: "the year before" };
const parts = {};
let open = false;

/** `shown` are the series of the chart; a tile turns its own on and off by `onToggle`. */
export function startTotals(shown, onToggle) {
  const tile = (id, name, series) => {
    const value = make("span", { class: "tile-value" }, skeleton());
    const note = make("span", { class: "tile-note" });
    const label = make("span", { class: "tile-label" }, series ? make("span", { class: `swatch ${series}`, "aria-hidden": "true" }) : null, make("span", { id: `${id}-name` }, name));
    parts[id] = { value, note };
    if (!series) return make("div", { class: "tile", id: `tile-${id}` }, label, value, note);
    const button = make("button", {
      type: "button", class: "tile-toggle", "aria-pressed": String(shown.has(series)), title: "Show or hide in the chart",
      onclick: () => {
        onToggle(series);
        for (const toggle of byId("tiles").querySelectorAll("[data-series]")) toggle.setAttribute("aria-pressed", String(shown.has(toggle.dataset.series)));
      },
      "data-series": series,
    }, hidden("In the chart: "), label);
    return make("div", { class: "tile", id: `tile-${id}` }, button, value, note);
  };
  byId("tiles").replaceChildren(
    tile("visitors", "Visitors", "visitors"), tile("views", "Views", "views"),
    tile("depth", "Views per visitor"), tile("now", "Right now"));
  parts.now.value.previousElementSibling.prepend(make("span", { class: "pulse", "aria-hidden": "true" }));
}

const skeleton = () => make("span", { class: "skeleton figure" });

/** Before the first answer for a site. */
export function awaitTotals() {
  for (const { value, note } of Object.values(parts)) {
    value.replaceChildren(skeleton());
    note.replaceChildren();
  }
}

/** `isOpen` says that a single day is shown which is not over: its figures are no more or less yet. */
export function showTotals(stats, isOpen) {
  open = isOpen;
  const { total_views: views, unique_users: visitors, unique_users_error_pct: error = 0, comparison } = stats;
  const before = comparison && { views: comparison.total_views, visitors: comparison.unique_users };
  parts.visitors.value.replaceChildren(count(visitors), ...errorBadge(error, visitors));
  parts.views.value.replaceChildren(count(views));
  const depth = (views, visitors) => (visitors > 0 ? views / visitors : null);
  const [depthNow, depthBefore] = [depth(views, visitors), before ? depth(before.views, before.visitors) : null];
  parts.depth.value.replaceChildren(depthNow === null ? "–" : ratio(depthNow));
  parts.visitors.note.replaceChildren(...versus(visitors, before?.visitors, count, comparison));
  parts.views.note.replaceChildren(...versus(views, before?.views, count, comparison));
  parts.depth.note.replaceChildren(...versus(depthNow, depthBefore, ratio, comparison));
}

/** Views are events of any type once a filter says which. */
export function nameTotals(noun) {
  byId("views-name").textContent = noun;
  byId("depth-name").textContent = `${noun} per visitor`;
}

function versus(now, before, written, comparison) {
  if (before === undefined || before === null || now === null) return [];
  const { text, way } = changeOf(now, before);
  const words = { up: "more than", down: "less than", same: "as in" }[way];
  const when = `${COMPARED[current().compare] ?? "before"}, ${days(comparison.start_date, comparison.end_date)}`;
  return [
    make("span", { class: `delta ${way}${open ? " open" : ""}` }, make("span", { class: "delta-arrow", "aria-hidden": "true" }), text, hidden(` ${words} ${when}:`)),
    make("span", { class: "tile-before", title: `In ${when}` }, hidden(" "), make("span", { "aria-hidden": "true" }, "from "), written(before), open ? " · so far" : ""),
  ];
}

// Visitors are a sketch beyond some thousands. How far off it may be is said where the figure is,
// and one click counts the rows.
function errorBadge(error, visitors) {
  const { exact } = current();
  if (visitors === 0) return [];
  if (error === 0 && !exact) return [make("span", { class: "error-badge", title: "Counted exactly" }, "exact")];
  const shown = exact ? "exact" : `±${points(error)} %`;
  const title = exact
    ? "Counted from the events themselves. Click for the quick figure."
    : `Within ${points(error)} % of the true figure. Click to count exactly, which may take longer.`;
  return [make("button", {
    type: "button", class: "error-badge", id: "exact", "aria-pressed": String(exact), title,
    "aria-label": exact ? "Counted exactly; use the quick figure" : `Within ${points(error)} %; count exactly`,
    onclick: () => {
      change({ exact: !exact });
    },
  }, shown)];
}

export function showNow({ visitors_5m: visitors, visitors_30m: half, views_30m: views }) {
  byId("tile-now").classList.remove("silent");
  parts.now.value.replaceChildren(count(visitors), hidden(" visitors in the last 5 minutes"));
  parts.now.note.replaceChildren(make("span", { class: "tile-before", title: `${count(views)} ${views === 1 ? "view" : "views"} in 30 minutes` }, `${count(half)} ${half === 1 ? "visitor" : "visitors"} in 30 min`));
}

export function silenceNow() {
  byId("tile-now").classList.add("silent");
  parts.now.note.replaceChildren(make("span", { class: "tile-before" }, "Connecting …"));
}
