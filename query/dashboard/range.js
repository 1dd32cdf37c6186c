// Which days: presets, days of one's own, and one step back or on.

import { isDay, neighbour, PRESETS, resolve, today } from "./days.js";
import { byId, make } from "./dom.js";
import { days as daysInWords } from "./format.js";
import { popover } from "./popover.js";
import { change, current } from "./state.js";

const daysNow = () => resolve(current(), today(current().zone));

export function startRange() {
  popover(byId("range"), { label: "Days", kind: "ranges", fill });
  byId("earlier").addEventListener("click", () => step(-1));
  byId("later").addEventListener("click", () => step(1));
}

export function showRange() {
  const state = current();
  const days = daysNow();
  const preset = PRESETS.find(([id]) => id === state.range);
  byId("range-name").textContent = preset ? preset[1] : daysInWords(days.from, days.to);
  byId("range").title = days ? daysInWords(days.from, days.to) : "From the first event to the last";
  byId("earlier").disabled = neighbour(days, -1, today(state.zone)) === null;
  byId("later").disabled = neighbour(days, 1, today(state.zone)) === null;
}

function step(way) {
  const { zone } = current();
  const now = today(zone);
  const next = neighbour(daysNow(), way, now);
  if (!next) return;
  // What has a name is called by it, and so goes on with the days.
  const named = PRESETS.find(([id]) => {
    const days = resolve({ range: id }, now);
    return days && days.from === next.from && days.to === next.to;
  });
  change(named ? { range: named[0], from: null, to: null, interval: null } : { range: "custom", ...next, interval: null });
}

function fill(close) {
  const { zone, range } = current();
  const now = today(zone);
  const pick = (patch) => {
    close();
    change({ from: null, to: null, interval: null, ...patch });
  };
  const presets = PRESETS.map(([id, name]) => make("button", {
    type: "button", class: "item", "aria-pressed": String(id === range), "data-first": id === range, onclick: () => pick({ range: id }),
  }, name));

  const days = daysNow() ?? { from: now, to: now };
  const dayInput = (value) => make("input", { type: "date", class: "control", value, min: "2000-01-01", max: now, required: true });
  const [from, to] = [dayInput(days.from), dayInput(days.to)];
  const fault = make("p", { class: "fault", role: "alert" });
  const form = make("form", {
    class: "own-days",
    onsubmit: (event) => {
      event.preventDefault();
      if (!isDay(from.value) || !isDay(to.value)) fault.textContent = "Both days are needed.";
      else if (to.value < from.value) fault.textContent = "The last day is before the first.";
      else pick({ range: "custom", from: from.value, to: to.value });
    },
  },
  make("p", { class: "panel-title" }, "Days of your own"),
  make("label", {}, "From", from), make("label", {}, "To", to), fault,
  make("button", { type: "submit", class: "primary" }, "Show these days"));
  return [make("div", { class: "presets", role: "group", "aria-label": "Presets" }, presets), form];
}
