// Calendar days as YYYY-MM-DD, and the ranges made of them. No clock but `today`.

const MS_A_DAY = 86_400_000;
const FIRST_DAY = "2000-01-01";

export const PRESETS = [
  ["today", "Today"],
  ["yesterday", "Yesterday"],
  ["7d", "Last 7 days"],
  ["28d", "Last 28 days"],
  ["90d", "Last 90 days"],
  ["month", "This month"],
  ["last-month", "Last month"],
  ["year", "Year to date"],
  ["all", "All time"],
];

/** How many points each interval may have in the chart: fewer say nothing, more cannot be seen. */
const MINUTES_A_POINT = { minute: 1, hour: 60, day: 1440, week: 10_080, month: 43_830 };
const POINTS_MIN = 3;
const POINTS_MAX = 1500;

const at = (day) => Date.parse(`${day}T00:00:00Z`);
const text = (ms) => new Date(ms).toISOString().slice(0, 10);

export function today(zone) {
  // Swedish writes a day as ISO 8601 does.
  return new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short" }).format(new Date());
}

export const isDay = (day) => /^\d{4}-\d{2}-\d{2}$/.test(day ?? "") && text(at(day) || 0) === day;
export const plus = (day, days) => text(at(day) + days * MS_A_DAY);
export const length = ({ from, to }) => Math.round((at(to) - at(from)) / MS_A_DAY) + 1;

const monthStart = (day) => `${day.slice(0, 7)}-01`;
const monthAfter = (day) => monthStart(plus(monthStart(day), 32));
const monthBefore = (day) => monthStart(plus(monthStart(day), -1));
const isWholeMonth = ({ from, to }) => from === monthStart(from) && plus(to, 1) === monthAfter(from);

/** The days of a range, or null for all time. */
export function resolve({ range, from, to }, now) {
  switch (range) {
    case "today": return { from: now, to: now };
    case "yesterday": return { from: plus(now, -1), to: plus(now, -1) };
    case "7d": return { from: plus(now, -6), to: now };
    case "28d": return { from: plus(now, -27), to: now };
    case "90d": return { from: plus(now, -89), to: now };
    case "month": return { from: monthStart(now), to: now };
    case "last-month": return { from: monthBefore(now), to: plus(monthStart(now), -1) };
    case "year": return { from: `${now.slice(0, 4)}-01-01`, to: now };
    case "custom": return { from, to };
    default: return null;
  }
}

/** The range of the same kind before (-1) or after (1) this one, or null if there is none. */
export function neighbour(days, way, now) {
  if (days === null) return null;
  let { from, to } = days;
  if (isWholeMonth(days) || (from === monthStart(from) && to === now)) {
    from = way < 0 ? monthBefore(from) : monthAfter(from);
    to = plus(monthAfter(from), -1);
  } else {
    const shift = way * length(days);
    [from, to] = [plus(from, shift), plus(to, shift)];
  }
  if (to > now) to = now;
  return from > now || from < FIRST_DAY ? null : { from, to };
}

const enough = (days, interval) => {
  const points = (days * 1440) / MINUTES_A_POINT[interval];
  return points >= POINTS_MIN && points <= POINTS_MAX;
};

/** The intervals that make sense for so many days, and the one that does by itself. */
export function intervals(days) {
  const sensible = Object.keys(MINUTES_A_POINT).filter((interval) => enough(days, interval));
  const best = days <= 2 ? "hour" : days <= 100 ? "day" : days <= 800 ? "week" : "month";
  return { sensible: sensible.includes(best) ? sensible : [best, ...sensible], best };
}
