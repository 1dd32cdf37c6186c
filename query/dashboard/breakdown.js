// The lists: which pages, sources, places, devices, types and properties, by views; a row is a filter.

import { ask, Away, downloadButton, Refused } from "./api.js";
import { byId, hidden, make, say } from "./dom.js";
import { isFiltered, propertyName, toggleFilter, valueName } from "./filters.js";
import { count, points, shortCount } from "./format.js";
import { change, current } from "./state.js";

const ROWS_MORE = 50;
const ROWS_MAX = 1000;

// A list with tabs shows one property of several. `one` heads the column of values.
const CAMPAIGNS = ["utm_campaign", "utm_source", "utm_medium", "utm_term", "utm_content"];
const LISTS = [
  { id: "pages", title: "Top pages", rows: 10, property: () => "path" },
  { id: "sources", title: "Sources", rows: 10, tabs: [["source", "Sources"], ["channel", "Channels"], ["referrer_host", "Referrers"], ["utm_campaign", "Campaigns"]], more: CAMPAIGNS },
  { id: "locations", title: "Locations", rows: 8, tabs: [["country", "Countries"], ["region", "Regions"], ["city", "Cities"], ["language", "Languages"]] },
  { id: "devices", title: "Devices", rows: 8, tabs: [["browser", "Browsers"], ["system", "Systems"], ["device", "Devices"], ["screen", "Screens"], ["bot", "Bots"]] },
  { id: "types", title: "Event types", rows: 6, property: () => "event_type" },
  { id: "properties", title: "Property", one: "Value", rows: 6, property: ({ prop }) => (prop ? `props.${prop}` : null) },
];

const cards = new Map();

export function startBreakdowns() {
  for (const list of LISTS) cards.set(list.id, card(list));
  byId("grid").replaceChildren(...[...cards.values()].map(({ element }) => element));
}

/** Before the first answer for a site. */
export function awaitBreakdowns() {
  for (const card of cards.values()) card.wait();
}

/** Asks for all lists side by side; `query` has what is common to them. */
export function loadBreakdowns(query, noun, signal) {
  return [...cards.values()].map((card) => card.load(query, noun, signal));
}

function card(list) {
  const body = make("tbody");
  const nounHead = make("th", { scope: "col", class: "number" }, "Views");
  const visitorsHead = make("th", { scope: "col", class: "number" }, "Visitors");
  const oneHead = make("th", { scope: "col" }, list.one ?? "");
  const table = make("table", { class: "list" },
    make("caption", { class: "hidden" }, `${list.title}; choosing a row counts only what belongs to it`),
    make("thead", {}, make("tr", {}, oneHead, visitorsHead, nounHead)), body);
  const empty = make("p", { class: "list-empty" });
  const total = make("span", { class: "list-total" });
  const more = make("button", { type: "button", class: "control quiet more", hidden: true, onclick: () => loadMore() }, "Show more", hidden(` of ${list.title}`));
  const heading = make("h2", { id: `${list.id}-title` }, list.title);
  const save = downloadButton(list.title, () => ["/stats/breakdown", withPage(1, ROWS_MAX), `${current().site} ${list.title.toLowerCase()}`]);
  save.hidden = true;
  const frame = make("div", { class: "list-body" }, table, empty);
  const tabs = list.tabs ? tabsOf(list) : null;
  const propertyOf = (state) => (list.tabs ? chosen(list, state) : list.property(state));
  frame.style.setProperty("--rows", list.rows);
  const element = make("section", { class: "card breakdown", id: list.id, "aria-labelledby": `${list.id}-title` },
    make("div", { class: "card-head" }, heading, list.id === "properties" ? keyForm() : null, tabs?.element, total, save),
    frame, make("div", { class: "card-foot" }, more));

  let asked = null;
  let page = 0;
  let limit = list.rows;
  let shown = 0;
  let most = 1;

  function wait() {
    body.replaceChildren(...Array.from({ length: list.rows }, (_, n) => {
      const bar = make("span", { class: "skeleton" });
      bar.style.width = `${72 - n * 6}%`;
      return make("tr", { class: "waiting-row", "aria-hidden": "true" }, make("td", { colspan: "3" }, bar));
    }));
    frame.classList.remove("filled");
    empty.textContent = "";
    total.textContent = "";
    save.hidden = true;
    more.hidden = true;
  }

  async function load(query, noun, signal) {
    const property = propertyOf(current());
    tabs?.show(property);
    if (!list.one) oneHead.textContent = propertyName(property);
    if (asked && asked.property !== property) wait();
    nounHead.textContent = list.id === "types" ? "Events" : noun;
    asked = { query, property, signal };
    frame.classList.toggle("unasked", property === null);
    if (property === null) frame.classList.add("filled");
    if (property === null) {
      body.replaceChildren();
      total.textContent = "";
      save.hidden = true;
      more.hidden = true;
      empty.textContent = "Name a property that your events carry in props, such as plan, and its values are counted here.";
      return;
    }
    // A quiet refresh keeps what was opened.
    const open = Math.min(Math.max(list.rows, Math.ceil(shown / ROWS_MORE) * ROWS_MORE), ROWS_MAX);
    const first = shown > list.rows && element.dataset.key === key(query, property) ? open : list.rows;
    let answer;
    try {
      answer = await ask("/stats/breakdown", withPage(1, first), signal);
    } catch (error) {
      // What is too much for one list is no trouble of the others.
      if (!(error instanceof Refused) || signal.aborted) throw error;
      wait();
      frame.classList.add("filled");
      body.replaceChildren();
      shown = 0;
      empty.textContent = error.message;
      return;
    }
    element.dataset.key = key(query, property);
    visitorsHead.replaceChildren("Visitors", make("span", { class: "head-error" }, errorOf(answer)));
    [page, limit, shown, most] = [1, first, 0, Math.max(answer.rows[0]?.views ?? 1, 1)];
    body.replaceChildren();
    frame.classList.add("filled");
    append(answer, property);
    empty.textContent = answer.rows.length > 0 ? "" : emptiness(list.id);
  }

  const key = (query, property) => `${property} ${query}`;

  function withPage(page, limit) {
    const query = new URLSearchParams(asked.query);
    query.set("property", asked.property);
    query.set("limit", limit);
    query.set("page", page);
    return query;
  }

  async function loadMore() {
    const { property, signal } = asked;
    more.disabled = true;
    try {
      // The first few are asked for again in the larger pages that follow.
      const restart = limit !== ROWS_MORE && limit % ROWS_MORE !== 0;
      const next = restart ? 1 : shown / ROWS_MORE + 1;
      const answer = await ask("/stats/breakdown", withPage(next, ROWS_MORE), signal);
      const skip = restart ? shown : 0;
      [page, limit] = [next, ROWS_MORE];
      const before = body.children.length;
      append({ ...answer, rows: answer.rows.slice(skip) }, property);
      // Where reading goes on.
      body.children[before]?.querySelector("button")?.focus({ preventScroll: true });
      say(`${list.title}: ${count(shown)} of ${count(answer.total)}.`);
    } catch (error) {
      if (error instanceof Away) say(error.message);
    } finally {
      more.disabled = false;
    }
  }

  function append(answer, property) {
    body.append(...answer.rows.map((row) => line(row, property, most)));
    shown += answer.rows.length;
    const left = answer.total - shown;
    total.textContent = answer.total > list.rows ? `${count(shown)} of ${count(answer.total)}` : "";
    save.hidden = shown === 0;
    more.hidden = left <= 0 || answer.rows.length === 0;
  }

  return { element, wait, load };
}

const errorOf = ({ unique_users_error_pct: error }) => (error > 0 ? ` ±${points(error)} %` : "");

function line({ value, views, unique_users: visitors }, property, most) {
  const filter = { property, operation: "is", value };
  const name = valueName(property, value);
  const row = make("tr", {},
    make("th", { scope: "row" },
      make("button", {
        type: "button", class: value === "" ? "row unnamed" : "row", title: name, "aria-pressed": String(isFiltered(filter)),
        onclick: () => toggleFilter(filter),
      }, make("span", { class: "row-name", dir: "auto" }, name))),
    make("td", { class: "number soft", title: count(visitors) }, shortCount(visitors)),
    make("td", { class: "number", title: `${count(views)}, ${points((views / most) * 100)} % of the first` }, shortCount(views)));
  row.style.setProperty("--share", views / most);
  return row;
}

/** The property that a list with tabs shows. */
function chosen({ id, tabs, more = [] }, { lists, bots }) {
  const property = lists[id];
  const known = tabs.some(([tab]) => tab === property) || more.includes(property);
  return known && (property !== "bot" || bots !== "exclude") ? property : tabs[0][0];
}

/** Its tabs; what belongs to the last of them is chosen beside it. */
function tabsOf({ id, title, tabs, more }) {
  const take = (property) => {
    const { [id]: _, ...others } = current().lists;
    change({ lists: property === tabs[0][0] ? others : { ...others, [id]: property } });
  };
  const buttons = tabs.map(([property, name]) => make("button", { type: "button", class: "segment", "aria-pressed": "false", "data-property": property, onclick: () => take(property) }, name));
  const select = more ? make("select", { class: "control", "aria-label": "Part of the campaign", hidden: true, onchange: () => take(select.value) }, more.map((value) => make("option", { value }, propertyName(value).replace(/^Campaign ./, (start) => start.at(-1).toUpperCase())))) : null;
  const choice = select ? make("span", { class: "choice part", hidden: true }, select, make("span", { class: "chevron", "aria-hidden": "true" })) : null;
  const element = make("div", { class: "tabs" }, make("div", { class: "segments", role: "group", "aria-label": `${title}: what is listed` }, buttons), choice);
  const show = (property) => {
    const tab = more?.includes(property) ? more[0] : property;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.property === tab));
      button.hidden = button.dataset.property === "bot" && current().bots === "exclude";
    }
    if (!select) return;
    choice.hidden = select.hidden = tab !== more[0];
    if (more.includes(property)) select.value = property;
  };
  show(chosen({ id, tabs, more }, current()));
  return { element, show };
}

const emptiness = (id) => ({
  pages: "No pages in these days.",
  sources: "Nobody came in these days.",
  locations: "Nobody came in these days.",
  devices: "Nobody came in these days.",
  types: "No events in these days.",
  properties: "No event of these days carries this property.",
})[id];

function keyForm() {
  const input = make("input", { class: "control key", type: "text", id: "prop", placeholder: "name, such as plan", maxlength: "64", pattern: "[^:]+", autocapitalize: "none", spellcheck: "false", "aria-label": "Name of the property" });
  const show = () => change({ prop: input.value.trim() || null });
  input.addEventListener("change", show);
  return make("form", { class: "prop-form", onsubmit: (event) => { event.preventDefault(); show(); } }, input);
}

export function showKey() {
  const input = byId("prop");
  if (document.activeElement !== input) input.value = current().prop ?? "";
}
