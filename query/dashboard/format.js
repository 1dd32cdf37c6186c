// Figures and times as people read them. The page speaks English, so its dates do too.

const LOCALE = navigator.languages.find((language) => language.startsWith("en")) ?? "en-GB";

const whole = new Intl.NumberFormat(LOCALE);
const short = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const oneDigit = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1 });
const rounded = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

export const count = (number) => whole.format(number);
export const shortCount = (number) => (number >= 100_000 ? short.format(number) : whole.format(number));
export const axisCount = (number) => short.format(number);
export const ratio = (number) => oneDigit.format(number);
export const points = (number) => percent.format(number);

/** The change from one figure to another: what to show, and which way it goes. */
export function change(now, before) {
  if (before === 0) return now === 0 ? { text: "0 %", way: "same" } : { text: "new", way: "up" };
  const points = ((now - before) / before) * 100;
  const size = Math.abs(points);
  if (size < 0.05) return { text: "0 %", way: "same" };
  const text = `${size < 10 ? percent.format(size) : rounded.format(size)} %`;
  return { text, way: points > 0 ? "up" : "down" };
}

// Times come as the wall clock of the zone that was asked for, with its offset; read as if they
// were UTC they can be written out without asking the zone again.
const written = (options) => new Intl.DateTimeFormat(LOCALE, { timeZone: "UTC", ...options });
const asWritten = (time) => new Date(`${time.slice(0, 19)}Z`);
const wallClock = (time) => asWritten(time.length === 10 ? `${time}T00:00:00` : time);

const DAY = written({ day: "numeric", month: "short" });
const DAY_YEAR = written({ day: "numeric", month: "short", year: "numeric" });
const WEEKDAY = written({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
const MONTH = written({ month: "short", year: "numeric" });
const MONTH_LONG = written({ month: "long", year: "numeric" });
const CLOCK = written({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const day = (time) => DAY.format(wallClock(time));
export const dayAndYear = (time) => DAY_YEAR.format(wallClock(time));
export const clock = (time) => CLOCK.format(wallClock(time));

/** A range of days in words. */
export function days(from, to) {
  if (from === to) return WEEKDAY.format(wallClock(from));
  const year = from.slice(0, 4) === to.slice(0, 4);
  return `${year ? day(from) : dayAndYear(from)} – ${dayAndYear(to)}`;
}

/** What stands below the chart. */
export function tick(time, interval, isOneDay) {
  if (interval === "minute" || (interval === "hour" && isOneDay)) return clock(time);
  if (interval === "hour") return time.slice(11, 16) === "00:00" ? day(time) : clock(time);
  if (interval === "month") return MONTH.format(wallClock(time));
  return day(time);
}

/** One point of the chart, written out. */
export function moment(time, interval) {
  if (interval === "minute" || interval === "hour") return `${WEEKDAY.format(wallClock(time))}, ${clock(time)}`;
  if (interval === "week") return `Week from ${dayAndYear(time)}`;
  if (interval === "month") return MONTH_LONG.format(wallClock(time));
  return WEEKDAY.format(wallClock(time));
}

const REGIONS = new Intl.DisplayNames(LOCALE, { type: "region" });
const LANGUAGES = new Intl.DisplayNames(LOCALE, { type: "language" });
const SCREENS = { small: "Small, below 576 px", medium: "Medium, below 992 px", large: "Large, below 1440 px", wide: "Wide, from 1440 px" };

/** What people call a value that is kept as a code. */
export function nameOfCode(property, value) {
  try {
    if (property === "country") return REGIONS.of(value);
    if (property === "language") return LANGUAGES.of(value);
    if (property === "region" && /^[A-Z]{2}-/.test(value)) return `${value.slice(3)}, ${REGIONS.of(value.slice(0, 2))}`;
  } catch {
    // Clients may send any text.
    return value;
  }
  if (property === "screen") return SCREENS[value] ?? value;
  if (property === "device") return value === "tv" ? "TV" : value[0].toUpperCase() + value.slice(1);
  return value;
}
