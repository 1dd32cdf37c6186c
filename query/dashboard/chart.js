// Views and visitors over time, with those of the time before. uPlot draws on a canvas; the same
// points stand in a table, and the arrow keys read them one by one.

/* global uPlot */

import { downloadButton } from "./api.js";
import { byId, make, say } from "./dom.js";
import { axisCount, count, days, moment, points as percent, tick } from "./format.js";

const TICK_PX = 84;
const DRAG_MIN_PX = 10;
/** A day on which clocks are set back. */
const HOURS_A_DAY_MAX = 25;
const NICE_STEPS = [1, 2, 3, 4, 6, 7, 12, 14, 24, 28, 48, 60, 96, 120, 168, 180, 240, 336, 360, 720];
const TABLE_ROWS_MAX = 1500;

let plot = null;
let drawn = null;
let noun = "Views";
let question = null;
let onZoom = () => {};
const visible = new Set(["visitors", "views"]);

export const series = visible;

/** `zoom(from, to)` is called with the days that somebody has drawn the mouse over. */
export function startChart(zoom) {
  onZoom = zoom;
  const holder = byId("plot");
  new ResizeObserver(() => plot?.setSize(size())).observe(holder);
  holder.addEventListener("keydown", onKey);
  byId("plot-foot").append(downloadButton("the chart", () => ["/stats/timeseries", question, `${question.get("site_id")} by ${question.get("interval")}`]));
  holder.addEventListener("blur", () => drawn && hideTip());
  byId("as-table").addEventListener("toggle", fillTable);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}

export function toggleSeries(name) {
  if (visible.has(name) && visible.size > 1) visible.delete(name);
  else visible.add(name);
  if (drawn) draw();
}

/** After the colours have changed. */
export function repaint() {
  colours.clear();
  plot?.redraw(false);
}

/** Draws an answer of /stats/timeseries. */
export function showChart(answer, nounNow, asked) {
  question = asked;
  const now = Date.now();
  const { points, interval, comparison } = answer;
  const starts = points.map(({ time }) => Date.parse(time));
  // What has not begun is no zero, and what has not ended is not comparable: it is dashed.
  const begun = starts.findLastIndex((start) => start <= now) + 1;
  const ended = begun === points.length && now >= endOf(starts, interval) ? begun : Math.max(begun - 1, 0);
  drawn = { points, interval, error: answer.unique_users_error_pct ?? 0, before: comparison?.points ?? null, begun, ended };
  noun = nounNow;
  const holder = byId("plot");
  if (!plot) {
    holder.replaceChildren();
    Object.entries({ tabindex: "0", role: "group", "aria-roledescription": "chart" }).forEach(([name, value]) => holder.setAttribute(name, value));
    plot = new uPlot(options(), data(), holder);
    plot.over.append(tip);
  } else {
    hideTip();
  }
  draw();
  const peak = points.reduce((best, point) => (point.views > best.views ? point : best), points[0]);
  const most = peak ? ` Most ${noun.toLowerCase()}: ${count(peak.views)}, ${moment(peak.time, interval)}.` : "";
  holder.setAttribute("aria-label", `${noun} and visitors by ${interval}.${most} The arrow keys read the points; a table follows.`);
  showLegend(comparison);
  fillTable();
}

// Twice the step before it: months and days of daylight saving differ, and this is close enough.
const endOf = (starts, interval) => {
  const last = starts.at(-1) ?? 0;
  const typical = { minute: 60e3, hour: 3600e3, day: 86_400e3, week: 604_800e3, month: 2_678_400e3 }[interval];
  return last + typical;
};

function draw() {
  plot.setData(data());
}

function data() {
  const { points, before, begun, ended } = drawn;
  const of = (name, from, to) => points.map((point, at) => (visible.has(name) && at >= from && at < to ? point[name === "views" ? "views" : "unique_users"] : null));
  const then = (name) => points.map((_, at) => (visible.has(name) ? (before?.[at]?.[name === "views" ? "views" : "unique_users"] ?? null) : null));
  const tail = (name) => (ended < begun ? of(name, ended - 1, begun) : of(name, 0, 0));
  return [points.map((_, at) => at), then("views"), then("visitors"), of("views", 0, ended), of("visitors", 0, ended), tail("views"), tail("visitors")];
}

const height = () => Number.parseFloat(getComputedStyle(byId("plot")).height) || 300;
const size = () => ({ width: byId("plot").clientWidth, height: height() });

function options() {
  const path = uPlot.paths.spline ? uPlot.paths.linear() : undefined;
  const line = (name, extra) => ({ label: name, stroke: () => colour(`--${name}`), width: 2, points: dots, paths: path, spanGaps: false, ...extra });
  const past = (name) => line(name, { stroke: () => colour(`--${name}-past`), width: 1.5, dash: [3, 4] });
  const tail = (name) => line(name, { dash: [5, 4], fill: (u) => fading(u, name) });
  return {
    ...size(),
    padding: [12, 30, 0, 0],
    legend: { show: false },
    cursor: { y: false, move: (u, left, top) => (left < 0 ? [left, top] : [u.valToPos(u.posToIdx(left), "x"), top]), drag: { x: true, y: false, setScale: false }, points: { size: 9, width: 2, fill: () => colour("--card"), stroke: (u, at) => u.series[at].stroke(u, at) }, focus: { prox: -1 } },
    scales: {
      x: { time: false, range: (u, min, max) => (min === max ? [min - 1, max + 1] : [min, max]) },
      y: { range: (u, min, max) => [0, Math.max(4, (max ?? 0) * 1.08)] },
    },
    axes: [
      { stroke: () => colour("--soft"), font: font(), size: 34, gap: 8, grid: { show: false }, ticks: { show: false }, splits: ticks, values: (u, at) => at.map((at) => (drawn.points[at] ? tick(drawn.points[at].time, drawn.interval, drawn.points.length <= HOURS_A_DAY_MAX) : "")) },
      { stroke: () => colour("--soft"), font: font(), size: 46, gap: 8, incrs: [1, 2, 5].flatMap((n) => Array.from({ length: 13 }, (_, power) => n * 10 ** power)).sort((a, b) => a - b), space: 52, grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, values: (u, at) => at.map(axisCount) },
    ],
    series: [{}, past("views"), past("visitors"),
      line("views", { fill: (u) => fading(u, "views") }), line("visitors", { fill: (u) => fading(u, "visitors") }),
      tail("views"), tail("visitors")],
    hooks: { setCursor: [showTip], setSelect: [zoomTo] },
  };
}

// A point alone has no line, so it gets a dot.
const dots = { size: 6, show: (u, at) => u.data[at].filter((value) => value !== null).length === 1 };
const font = () => `12px ${getComputedStyle(document.body).fontFamily}`;

function ticks() {
  const { points, interval } = drawn;
  const fit = Math.max(2, Math.floor((plot?.width ?? size().width) / TICK_PX));
  const step = NICE_STEPS.find((step) => points.length / step <= fit) ?? Math.ceil(points.length / fit);
  // Hours of several days are marked at the same hour of each, whatever a change of clocks has done.
  if (interval === "hour" && points.length > HOURS_A_DAY_MAX) {
    const midnights = points.flatMap(({ time }, at) => (time.slice(11, 16) === "00:00" ? [at] : []));
    const every = Math.ceil(midnights.length / fit);
    return midnights.filter((_, at) => at % every === 0);
  }
  return points.flatMap((_, at) => (at % step === 0 ? [at] : []));
}

const colours = new Map();
function colour(name) {
  if (!colours.has(name)) {
    // A custom property is text; as the colour of something it becomes one that a canvas knows.
    const probe = make("span");
    probe.style.color = `var(${name})`;
    byId("plot").append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

function fading(u, name) {
  const { top, height } = u.bbox;
  if (!(height > 0)) return null;
  const gradient = u.ctx.createLinearGradient(0, top, 0, top + height);
  gradient.addColorStop(0, colour(`--${name}-high`));
  gradient.addColorStop(1, colour(`--${name}-low`));
  return gradient;
}

const tip = make("div", { class: "tip", hidden: true });

function hideTip() {
  tip.hidden = true;
  plot?.setCursor({ left: -10, top: -10 }, false);
}

function showTip(u) {
  const at = u.cursor.idx;
  const point = at === null || at === undefined || u.cursor.left < 0 ? null : drawn.points[at];
  if (!point || at >= drawn.begun) {
    tip.hidden = true;
    return;
  }
  const then = drawn.before?.[at];
  const rows = [["visitors", drawn.error > 0 ? `Visitors ±${percent(drawn.error)} %` : "Visitors", "unique_users"], ["views", noun, "views"]].filter(([name]) => visible.has(name)).map(([name, title, field]) =>
    make("tr", {}, make("th", { scope: "row" }, make("span", { class: `swatch ${name}` }), title), make("td", {}, count(point[field])), then ? make("td", { class: "then" }, count(then[field])) : null));
  const foot = then ? make("p", { class: "tip-foot" }, `then: ${moment(then.time, drawn.interval)}`) : null;
  const open = at >= drawn.ended ? make("p", { class: "tip-foot" }, "not over yet") : null;
  tip.replaceChildren(...[make("p", { class: "tip-head" }, moment(point.time, drawn.interval)),
    make("table", {}, then ? make("thead", {}, make("tr", {}, make("th"), make("th", {}, "now"), make("th", {}, "then"))) : null, make("tbody", {}, rows)), foot, open].filter(Boolean));
  tip.hidden = false;
  const x = u.valToPos(at, "x");
  const right = x + 16 + tip.offsetWidth > u.over.clientWidth;
  const left = right ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.min(Math.max(left, -40), u.over.clientWidth - tip.offsetWidth + 16)}px`;
}

function onKey(event) {
  if (!drawn || !plot) return;
  const last = drawn.begun - 1;
  const at = tip.hidden ? null : plot.cursor.idx;
  const next = { ArrowRight: at === null ? 0 : Math.min(at + 1, last), ArrowLeft: at === null ? last : Math.max(at - 1, 0), Home: 0, End: last }[event.key];
  if (event.key === "Escape") return hideTip();
  if (next === undefined || last < 0) return;
  event.preventDefault();
  plot.setCursor({ left: plot.valToPos(next, "x"), top: 10 });
  const point = drawn.points[next];
  say(`${moment(point.time, drawn.interval)}: ${count(point.unique_users)} visitors, ${count(point.views)} ${noun.toLowerCase()}.`, "point");
}

function zoomTo(u) {
  const { left, width } = u.select;
  if (width < DRAG_MIN_PX) return;
  u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  const { points, interval } = drawn;
  const from = points[u.posToIdx(left)]?.time.slice(0, 10);
  const until = u.posToIdx(left + width);
  if (!from || !points[until]) return;
  // A week or a month is taken whole.
  const next = points[until + 1]?.time.slice(0, 10);
  const to = interval === "week" || interval === "month" ? (next ? dayBefore(next) : null) : points[until].time.slice(0, 10);
  onZoom(from, to);
}

const dayBefore = (day) => new Date(Date.parse(`${day}T00:00:00Z`) - 86_400_000).toISOString().slice(0, 10);

function showLegend(comparison) {
  const dashes = comparison?.points?.length > 0 ? [make("span", { class: "legend-item" }, make("span", { class: "dashes", "aria-hidden": "true" }), make("span", {}, make("span", { class: "legend-words" }, "compared with "), days(comparison.start_date, comparison.end_date)))] : [];
  byId("legend").replaceChildren(...dashes);
}

function fillTable() {
  if (!drawn || !byId("as-table").open) return;
  const { points, before, begun, interval } = drawn;
  const head = ["When", drawn.error > 0 ? `Visitors ±${percent(drawn.error)} %` : "Visitors", noun, ...(before ? ["Visitors then", `${noun} then`] : [])];
  const rows = points.slice(0, Math.min(begun, TABLE_ROWS_MAX)).map((point, at) => {
    const then = before ? [before[at]?.unique_users, before[at]?.views] : [];
    return make("tr", {}, make("th", { scope: "row" }, moment(point.time, interval)),
      [point.unique_users, point.views, ...then].map((figure) => make("td", {}, figure === undefined ? "–" : count(figure))));
  });
  byId("plot-table").replaceChildren(make("table", { class: "points" }, make("caption", { class: "hidden" }, `${noun} and visitors by ${interval}`), make("thead", {}, make("tr", {}, head.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, rows)));
}
