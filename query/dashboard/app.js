// The whole: what is asked when the state changes, and who shows the answers.

import { ask, askAnew, Away, Locked, Refused } from "./api.js";
import { awaitBreakdowns, loadBreakdowns, showKey, startBreakdowns } from "./breakdown.js";
import { series, repaint, showChart, startChart, toggleSeries } from "./chart.js";
import { intervals, length, resolve, today } from "./days.js";
import { byId, keep, kept, make, say } from "./dom.js";
import { copy, hideWaiting, showWaiting } from "./empty.js";
import { showFilters, startFilters } from "./filters.js";
import { count, days as daysInWords } from "./format.js";
import { watch } from "./live.js";
import { picker } from "./picker.js";
import { showRange, startRange } from "./range.js";
import { BROWSER_ZONE, change, current, filterText, onChange } from "./state.js";
import { awaitTotals, nameTotals, showNow, showTotals, silenceNow, startTotals } from "./totals.js";
import { clearTrouble, showAway, showLocked, showRefused } from "./trouble.js";

const REFRESH_MS = 60_000;
const POLL_WHILE_EMPTY_MS = 2_000;
const SITE_OF_NOBODY = "my-site";
// Some browsers still list cities under the names that they had.
const RENAMED = { "Asia/Calcutta": "Asia/Kolkata", "Asia/Katmandu": "Asia/Kathmandu", "Asia/Saigon": "Asia/Ho_Chi_Minh", "Asia/Rangoon": "Asia/Yangon", "Europe/Kiev": "Europe/Kyiv", "America/Buenos_Aires": "America/Argentina/Buenos_Aires" };
const THEMES = ["system", "light", "dark"];

let sites = [];
let loading = null;
let refresh = 0;
let stopWatching = () => {};
let watched = null;

start();

function start() {
  startTotals(series, toggleSeries);
  startBreakdowns();
  startChart((from, to) => change({ range: "custom", from, to: to ?? today(current().zone), interval: null }));
  startRange();
  startFilters();
  startPickers();
  startTheme();
  byId("compare").addEventListener("change", (event) => change({ compare: event.target.value }));
  byId("bots").addEventListener("change", (event) => change({ bots: event.target.value }));
  byId("share").addEventListener("click", () => copy(location.href, byId("share")));
  awaitBreakdowns();
  onChange(changed);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isOpen()) load();
  });
  // Who came before is asked about at once, beside the list of sites and not after it.
  const remembered = current().site ?? kept("localStorage", "site");
  change({ site: remembered }, { quietly: true });
}

function changed(state, before) {
  showControls();
  if (state.site !== before.site) {
    delete document.body.dataset.known;
    awaitTotals();
    awaitBreakdowns();
  }
  load();
}

function showControls() {
  const state = current();
  byId("site-name").textContent = state.site ?? "…";
  byId("zone-name").textContent = state.zone.split("/").at(-1).replaceAll("_", " ");
  byId("zone").title = `Days and hours are those of ${state.zone}`;
  byId("compare").value = state.compare;
  byId("bots").value = state.bots;
  byId("compare").disabled = state.range === "all";
  showRange();
  showFilters();
  showKey();
  nameTotals(noun(state));
  document.title = `${state.site ? `${state.site} · ` : ""}${byId("range-name").textContent} · weir`;
  byId("title").textContent = `Figures of ${state.site ?? "no site yet"}, ${byId("range-name").textContent}`;
}

function noun({ filters }) {
  return filters.some(({ property }) => property === "event_type") ? "Events" : "Views";
}

/** Whether the days shown are still going on. */
function isOpen() {
  const { zone } = current();
  const days = resolve(current(), today(zone));
  return days === null || days.to >= today(zone);
}

async function load() {
  loading?.abort();
  clearTimeout(refresh);
  const own = new AbortController();
  loading = own;
  const { signal } = own;
  const slow = setTimeout(() => setBusy(true), 120);
  try {
    const listed = loadSites(signal);
    // Without a site yet, the busiest is taken.
    if (!current().site) {
      await listed;
      if (signal.aborted) return;
      const site = sites[0]?.site_id;
      if (site) return change({ site }, { quietly: true });
      showControls();
      clearTrouble();
      await waitForEvents(SITE_OF_NOBODY);
      return;
    }
    await loadFigures(listed, signal);
  } catch (error) {
    if (!signal.aborted) explain(error);
  } finally {
    clearTimeout(slow);
    if (loading === own) setBusy(false);
  }
}

async function loadSites(signal) {
  ({ sites } = await ask("/sites", new URLSearchParams({ limit: 100 }), signal));
}

async function loadFigures(listed, signal) {
  const state = current();
  follow(state.site, state.bots);
  const days = resolve(state, today(state.zone));
  const query = question(state, days);
  const compared = new URLSearchParams(query);
  if (days && state.compare !== "none") compared.set("compare", state.compare);

  const totals = async () => {
    const asked = new URLSearchParams(compared);
    if (state.exact) asked.set("exact", "true");
    const answer = await ask("/stats", asked, signal);
    if (!signal.aborted) showTotals(answer, days !== null && length(days) === 1 && isOpen());
    return answer;
  };
  const chart = async () => {
    // How long all time is, only the list of sites says.
    const known = days ?? (await listed.then(() => sites.find(({ site_id: id }) => id === state.site)));
    const span = days ? length(days) : known ? length({ from: known.first_date, to: today(state.zone) }) : 1000;
    const interval = chooseInterval(state, span);
    const asked = new URLSearchParams(compared);
    asked.set("interval", interval);
    const answer = await ask("/stats/timeseries", asked, signal);
    if (!signal.aborted) showChart(answer, noun(state), asked);
  };
  const all = [totals(), chart(), listed, ...loadBreakdowns(query, noun(state), signal)];
  const outcomes = await Promise.allSettled(all);
  if (signal.aborted) return;
  const failures = outcomes.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  // What a key or another question would mend is said before what time will.
  const worst = failures.find((error) => error instanceof Locked) ?? failures.find((error) => error instanceof Refused) ?? failures[0];
  if (worst) {
    // Parts that came are of the days asked for; the others still show those before.
    const some = outcomes.some(({ status }, at) => status === "fulfilled" && at !== all.indexOf(listed));
    if (some && document.body.dataset.known) document.body.dataset.known = "in part of other days";
    throw worst;
  }

  const wasTrouble = clearTrouble();
  document.body.dataset.known = `${byId("range-name").textContent}, at ${new Date().toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`;
  keep("localStorage", "site", state.site);
  const stats = outcomes[0].value;
  if (stats.total_views === 0 && !sites.some(({ site_id: id }) => id === state.site) && sites.length < 100) {
    await waitForEvents(state.site);
    return;
  }
  const isFresh = hideWaiting();
  showNothing(stats.total_views === 0);
  say(`${wasTrouble ? "Figures can be had again. " : ""}${byId("range-name").textContent}: ${count(stats.unique_users)} visitors, ${count(stats.total_views)} ${noun(state).toLowerCase()}.`);
  // The first event is seen some moments before all the figures that come of it.
  askAnew(isFresh);
  if (isFresh) refresh = setTimeout(load, POLL_WHILE_EMPTY_MS);
  else if (isOpen()) refresh = setTimeout(() => document.hidden || load(), REFRESH_MS);
}

function question(state, days) {
  const query = new URLSearchParams({ site_id: state.site });
  if (days && days.from === days.to) query.set("date", days.from);
  else if (days) {
    query.set("start_date", days.from);
    query.set("end_date", days.to);
  }
  query.set("timezone", state.zone);
  if (state.bots !== "exclude") query.set("bots", state.bots);
  for (const filter of state.filters) query.append("filter", filterText(filter));
  return query;
}

function chooseInterval(state, span) {
  const { sensible, best } = intervals(span);
  const chosen = sensible.includes(state.interval) ? state.interval : best;
  byId("intervals").replaceChildren(...sensible.map((interval) => make("button", {
    type: "button", class: "segment", "aria-pressed": String(interval === chosen),
    onclick: () => {
      change({ interval: interval === best ? null : interval });
      byId("intervals").querySelector("[aria-pressed=true]")?.focus();
    },
  }, interval[0].toUpperCase() + interval.slice(1))));
  return chosen;
}

/** Days without figures, and a way out of them. */
function showNothing(is) {
  const { site, filters } = current();
  byId("nothing").hidden = !is;
  if (!is) return;
  const listed = sites.find(({ site_id: id }) => id === site);
  const wayOut = filters.length > 0
    ? make("button", { type: "button", class: "control", onclick: () => change({ filters: [] }) }, "Without the filters")
    : listed && current().range !== "all" ? make("button", { type: "button", class: "control", onclick: () => change({ range: "all", from: null, to: null, interval: null }) }, "All time") : null;
  const until = listed && filters.length === 0 ? `The events of this site: ${daysInWords(listed.first_date, listed.last_date)}.` : null;
  byId("nothing").replaceChildren(make("p", {}, make("b", {}, filters.length > 0 ? "Nothing in these days fits the filters." : "Nothing was counted in these days."), until ? make("br") : null, until), ...[wayOut].filter(Boolean));
}

async function waitForEvents(site) {
  askAnew(true);
  await showWaiting(site);
  refresh = setTimeout(load, POLL_WHILE_EMPTY_MS);
}

function explain(error) {
  if (error instanceof Locked) showLocked(unlock);
  else if (error instanceof Refused && current().exact) {
    say("These days cannot be counted exactly in the time there is.");
    change({ exact: false }, { quietly: true });
  } else if (error instanceof Refused) {
    showRefused(error, () => change({ range: "28d", from: null, to: null, zone: BROWSER_ZONE, interval: null, filters: [], prop: null, bots: "exclude", lists: {}, exact: false }));
  } else if (error instanceof Away) showAway(error, load);
  else throw error;
}

function unlock() {
  watched = null;
  load();
}

function follow(site, bots) {
  const query = new URLSearchParams({ site_id: site, bots });
  if (watched === String(query)) return;
  watched = String(query);
  stopWatching();
  stopWatching = watch(query, showNow, silenceNow);
}

function setBusy(busy) {
  byId("progress").hidden = !busy;
  byId("figures").setAttribute("aria-busy", String(busy));
}

function startPickers() {
  picker(byId("site"), {
    label: "Site", placeholder: "Find a site",
    options: () => sites.map(({ site_id: id, total_views: views }) => ({ value: id, label: id, detail: count(views) })),
    selected: () => current().site,
    own: (typed) => (/^[A-Za-z0-9._:-]{1,128}$/.test(typed) ? { value: typed, label: typed, detail: "not listed" } : null),
    // A site's own filters and properties mean nothing to another.
    onPick: (site) => change({ site, filters: [], prop: null, exact: false }),
  });
  const zones = ["UTC", ...Intl.supportedValuesOf("timeZone").filter((zone) => zone !== "UTC").map((zone) => RENAMED[zone] ?? zone)].sort((a, b) => (a === "UTC" ? -1 : b === "UTC" ? 1 : a < b ? -1 : 1));
  picker(byId("zone"), {
    label: "Time zone", placeholder: "Find a time zone",
    options: () => [...new Set([BROWSER_ZONE, ...zones])].map((zone) => ({ value: zone, label: zone.replaceAll("_", " "), detail: offset(zone) })),
    selected: () => current().zone,
    onPick: (zone) => change({ zone }),
  });
}

function offset(zone) {
  const parts = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(new Date());
  return parts.find(({ type }) => type === "timeZoneName").value.replace("GMT", "UTC").replace("-", "−");
}

function startTheme() {
  const root = document.documentElement;
  const show = () => {
    const words = { system: "as the system", light: "light", dark: "dark" }[root.dataset.theme];
    byId("theme").setAttribute("aria-label", `Colours: ${words}`);
    byId("theme").title = `Colours: ${words}`;
  };
  byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    keep("localStorage", "theme", next === "system" ? null : next);
    show();
    repaint();
    say(byId("theme").title);
  });
  show();
}
