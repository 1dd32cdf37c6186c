// Asking the service. What can go wrong is one of three, because the page does one of three things.

import { drawing, keep, kept, make, say } from "./dom.js";

/** Longer than the service gives its longest questions. */
const PATIENCE_MS = 30_000;
const RETRY_MS = 2_000;

/** Not now: nobody answers, or ClickHouse does not. Trying again helps. */
export class Away extends Error {
  constructor(message, retryMs = RETRY_MS) {
    super(message);
    this.retryMs = retryMs;
  }
}

/** Not like this: the question is at fault. */
export class Refused extends Error {}

/** Not without a key. */
export class Locked extends Error {}

export const useKey = (key) => keep("sessionStorage", "key", key);
export const hasKey = () => kept("sessionStorage", "key") !== null;

let isAwaited = false;

/**
 * Answers about days that are over may be kept for a while. Not so while the first events of a site
 * are awaited, which may well be of such days.
 */
export const askAnew = (anew) => {
  isAwaited = anew;
};

export async function fetchFrom(path, query, { signal, accept = "application/json" } = {}) {
  const headers = { accept };
  const key = kept("sessionStorage", "key");
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, { headers, signal, cache: isAwaited ? "no-cache" : "default" });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new Away("The service does not answer.");
  }
  if (response.ok) return response;
  const said = await sentences(response);
  if (response.status === 401 || response.status === 403) throw new Locked(said);
  if (response.status === 503 || response.status === 429 || response.status >= 500) {
    const seconds = Number(response.headers.get("retry-after"));
    throw new Away(said, seconds > 0 ? seconds * 1000 : RETRY_MS);
  }
  throw new Refused(said);
}

export async function ask(path, query, signal) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const both = signal ? AbortSignal.any([signal, patience]) : patience;
  const response = await fetchFrom(path, query, { signal: both });
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Away("The answer was cut off.");
  }
}

/** Has the browser save an answer as CSV. */
export async function download(path, query, name) {
  const response = await fetchFrom(path, query, { accept: "text/csv" });
  const address = URL.createObjectURL(await response.blob());
  make("a", { href: address, download: `${name}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The button for it; `asked()` says what to ask for when it is pressed. */
export function downloadButton(of, asked) {
  const press = async () => {
    try {
      await download(...asked());
      say("Downloaded.");
    } catch (error) {
      say(error.message);
    }
  };
  return make("button", { type: "button", class: "control icon quiet save", "aria-label": `Download as CSV: ${of}`, title: "Download as CSV", onclick: press }, drawing("M10 3v9M6.5 8.5 10 12l3.5-3.5M4 16h12", 18));
}

async function sentences(response) {
  try {
    const { errors } = await response.json();
    if (Array.isArray(errors) && errors.length > 0) return errors.join("; ");
  } catch {
    // Something in between answered in its own way.
  }
  return `The service answers ${response.status}.`;
}
