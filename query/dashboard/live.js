// Visitors right now. Server-sent events over fetch, because EventSource cannot carry a key.

import { fetchFrom, Locked } from "./api.js";

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 15_000;
/** The service speaks every five seconds; one that is silent for longer is gone. */
const SILENCE_MAX_MS = 16_000;

/** What is asked is `query`. Calls `onFigures` with each answer and `onSilence` when there are none; returns what ends it. */
export function watch(query, onFigures, onSilence) {
  let stopped = false;
  let retryMs = RETRY_FIRST_MS;
  let connection = null;
  let timer = 0;

  async function connect() {
    const own = new AbortController();
    connection = own;
    try {
      let silence = setTimeout(() => own.abort(), SILENCE_MAX_MS);
      try {
        const response = await fetchFrom("/stats/realtime", query, { signal: own.signal, accept: "text/event-stream" });
        for await (const figures of events(response.body)) {
          clearTimeout(silence);
          silence = setTimeout(() => own.abort(), SILENCE_MAX_MS);
          retryMs = RETRY_FIRST_MS;
          onFigures(figures);
        }
      } finally {
        clearTimeout(silence);
      }
    } catch (error) {
      // A key that is missing is asked for by those who ask for figures.
      if (error instanceof Locked) retryMs = RETRY_MAX_MS;
    }
    if (stopped || connection !== own) return;
    connection = null;
    onSilence();
    timer = setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }

  // A browser has six connections for all tabs of one service: a tab that nobody sees gives its own back.
  function follow() {
    clearTimeout(timer);
    const previous = connection;
    connection = null;
    previous?.abort();
    if (!document.hidden && !stopped) connect();
  }

  document.addEventListener("visibilitychange", follow);
  follow();
  return () => {
    stopped = true;
    document.removeEventListener("visibilitychange", follow);
    follow();
  };
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    pending += value.replaceAll("\r", "");
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length > 0) yield JSON.parse(lines.map((line) => line.slice(5)).join("\n"));
    }
  }
}
