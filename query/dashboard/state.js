// What is shown, which is what the address says: a link is the whole of it.

import { isDay, PRESETS } from "./days.js";

const COMPARISONS = ["previous_period", "previous_year", "none"];
const INTERVALS = ["minute", "hour", "day", "week", "month"];
const FILTERS_MAX = 20;
export const BOTS = ["exclude", "include", "only"];
/** Lists of one property out of several; the address has those that are not the first. */
const LISTS_WITH_TABS = ["sources", "locations", "devices"];
export const OPERATIONS = { is: "is", is_not: "is not", contains: "contains", starts_with: "starts with" };
export const BROWSER_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

let state = read();
const listeners = [];

export const current = () => state;
export const onChange = (listener) => listeners.push(listener);

/** Changes some of the state; the browser's back button undoes it, unless `quietly`. */
export function change(patch, { quietly = false } = {}) {
  const next = { ...state, ...patch };
  const address = link(next);
  const before = state;
  state = next;
  if (address !== location.pathname + location.search) {
    if (quietly) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
  }
  tell(before);
}

addEventListener("popstate", () => {
  const before = state;
  state = read();
  tell(before);
});

function tell(before) {
  for (const listener of listeners) listener(state, before);
}

function read() {
  const query = new URLSearchParams(location.search);
  const oneOf = (name, known, otherwise) => (known.includes(query.get(name)) ? query.get(name) : otherwise);
  const [from, to] = [query.get("from"), query.get("to")];
  const custom = isDay(from) && isDay(to) && from <= to;
  const range = oneOf("range", PRESETS.map(([id]) => id), custom ? "custom" : "28d");
  return {
    site: query.get("site"),
    range,
    from: range === "custom" ? from : null,
    to: range === "custom" ? to : null,
    zone: zoneOr(query.get("tz"), BROWSER_ZONE),
    compare: oneOf("compare", COMPARISONS, "previous_period"),
    interval: oneOf("interval", INTERVALS, null),
    filters: query.getAll("filter").map(parseFilter).filter(Boolean).slice(0, FILTERS_MAX),
    prop: query.get("prop"),
    bots: oneOf("bots", BOTS, "exclude"),
    lists: Object.fromEntries(LISTS_WITH_TABS.map((list) => [list, query.get(list)]).filter(([, property]) => property)),
    exact: query.get("exact") === "true",
  };
}

/** The address of a state, as short as it can be while it means the same to everybody. */
export function link(state) {
  const query = new URLSearchParams();
  if (state.site) query.set("site", state.site);
  if (state.range === "custom") {
    query.set("from", state.from);
    query.set("to", state.to);
  } else {
    query.set("range", state.range);
  }
  // Always: who follows the link may live elsewhere.
  query.set("tz", state.zone);
  if (state.compare !== "previous_period") query.set("compare", state.compare);
  if (state.interval) query.set("interval", state.interval);
  for (const filter of state.filters) query.append("filter", filterText(filter));
  if (state.bots !== "exclude") query.set("bots", state.bots);
  for (const [list, property] of Object.entries(state.lists)) query.set(list, property);
  if (state.prop) query.set("prop", state.prop);
  if (state.exact) query.set("exact", "true");
  // Slashes and colons may stand in a query string, and people read it.
  return `${location.pathname}?${query}`.replaceAll("%2F", "/").replaceAll("%3A", ":");
}

export const filterText = ({ property, operation, value }) => `${property}:${operation}:${value}`;

function parseFilter(text) {
  const [property, operation, ...rest] = text.split(":");
  if (!property || !(operation in OPERATIONS) || rest.length === 0) return null;
  return { property, operation, value: rest.join(":") };
}

function zoneOr(zone, otherwise) {
  try {
    if (zone) new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone || otherwise;
  } catch {
    return otherwise;
  }
}
