// Filters: chips for those in force, a form for one more.

import { byId, hidden, make } from "./dom.js";
import { popover } from "./popover.js";
import { nameOfCode } from "./format.js";
import { change, current, filterText, OPERATIONS } from "./state.js";

const NAMES = {
  path: "Page", hostname: "Hostname", source: "Source", channel: "Channel", referrer_host: "Referrer", referrer: "Referring page",
  utm_campaign: "Campaign", utm_source: "Campaign source", utm_medium: "Campaign medium", utm_term: "Campaign term", utm_content: "Campaign content",
  country: "Country", region: "Region", city: "City", language: "Language",
  browser: "Browser", browser_version: "Browser version", system: "System", device: "Device", screen: "Screen", bot: "Bot",
  event_type: "Event type", user: "User",
};
const EXAMPLES = { path: "/pricing", country: "DE", region: "DE-BY", language: "en-US", device: "mobile", screen: "small", event_type: "signup" };
const EMPTY = { source: "Direct / none", referrer_host: "Direct / none", referrer: "Direct / none", path: "No page", user: "Nobody in particular", bot: "No bot" };
const OWN = "props";

export const propertyName = (property) => NAMES[property] ?? property.replace(/^props\./, "");

/** What an empty value of a property means. */
export function valueName(property, value) {
  if (value !== "") return nameOfCode(property, value);
  if (property.startsWith("utm_")) return "None";
  return EMPTY[property] ?? (property.startsWith("props.") ? "Not set" : "Unknown");
}

/** Adds a filter, or takes it away if it is there. */
export function toggleFilter(filter) {
  const { filters } = current();
  const text = filterText(filter);
  const without = filters.filter((other) => filterText(other) !== text);
  change({ filters: without.length < filters.length ? without : [...filters, filter] });
}

export const isFiltered = (filter) => current().filters.some((other) => filterText(other) === filterText(filter));

export function startFilters() {
  popover(byId("add-filter"), { label: "Add a filter", kind: "filter-form", fill });
}

export function showFilters() {
  const { filters } = current();
  const chips = filters.map((filter) => {
    const [name, operation, value] = [propertyName(filter.property), OPERATIONS[filter.operation], valueName(filter.property, filter.value)];
    return make("li", { class: "chip" },
      make("span", { class: "chip-text", title: `${name} ${operation} ${value}` }, make("span", { class: "chip-what" }, `${name} ${operation} `), make("b", {}, value)),
      make("button", { type: "button", class: "chip-remove", "aria-label": `Remove the filter: ${name} ${operation} ${value}`, onclick: () => remove(filter) }, make("span", { class: "cross", "aria-hidden": "true" })));
  });
  if (filters.length > 1) chips.push(make("li", {}, make("button", { type: "button", class: "control quiet", onclick: () => clear() }, "Clear", hidden(" all filters"))));
  byId("chips").replaceChildren(...chips);
  byId("chips").hidden = chips.length === 0;
}

function remove(filter) {
  toggleFilter(filter);
  // The chip is gone, and the focus must not be.
  (byId("chips").querySelector("button") ?? byId("add-filter")).focus();
}

function clear() {
  change({ filters: [] });
  byId("add-filter").focus();
}

function fill(close) {
  const choices = (of) => Object.entries(of).map(([value, name]) => make("option", { value }, name));
  const property = make("select", { class: "control", "data-first": true }, choices({ ...NAMES, [OWN]: "A property of the event" }));
  const key = make("input", { class: "control", type: "text", placeholder: "plan", maxlength: "64", pattern: "[^:]+", autocapitalize: "none", spellcheck: "false" });
  const keyLabel = make("label", { hidden: true }, "Property", key);
  const operation = make("select", { class: "control" }, choices(OPERATIONS));
  const value = make("input", { class: "control", type: "text", maxlength: "2048", placeholder: "/pricing", autocapitalize: "none", spellcheck: "false" });
  property.addEventListener("change", () => {
    keyLabel.hidden = property.value !== OWN;
    key.required = property.value === OWN;
    value.placeholder = EXAMPLES[property.value] ?? "";
  });
  const form = make("form", {
    onsubmit: (event) => {
      event.preventDefault();
      const name = property.value === OWN ? `props.${key.value.trim()}` : property.value;
      const filter = { property: name, operation: operation.value, value: value.value };
      close();
      if (!isFiltered(filter)) toggleFilter(filter);
    },
  },
  make("p", { class: "panel-title" }, "Count only what fits"),
  make("label", {}, "What", property), keyLabel, make("label", {}, "How", operation), make("label", {}, "Value", value),
  make("button", { type: "submit", class: "primary" }, "Add the filter"));
  return [form];
}
