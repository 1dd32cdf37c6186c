// When there are no figures to be had: the page says so, tries again, and is quiet when it is over.

import { hasKey, useKey } from "./api.js";
import { byId, make } from "./dom.js";

const RETRY_MAX_MS = 8_000;

let retryAt = 0;
let timer = 0;
let failures = 0;

/** Tries again by itself, later each time up to a few seconds. */
export function showAway(error, retry) {
  failures += 1;
  const waitMs = Math.min(error.retryMs * 1.5 ** (failures - 1), RETRY_MAX_MS);
  retryAt = Date.now() + waitMs;
  clearTimeout(timer);
  timer = setTimeout(retry, waitMs);
  const trouble = byId("trouble");
  if (trouble.dataset.kind !== "away") {
    // Filled once: an alert that changes every second would be read out every second.
    trouble.dataset.kind = "away";
    const left = make("span", { id: "trouble-left", "aria-hidden": "true" });
    trouble.replaceChildren(make("span", { class: "trouble-mark", "aria-hidden": "true" }),
      make("div", { class: "trouble-text" }, make("b", {}, "No figures can be had right now."), " ", make("span", { id: "trouble-why" }), "", document.body.dataset.known ? ` Below is what was last known: ${document.body.dataset.known}.` : "", " This page goes on by itself. ", left),
      make("button", { type: "button", class: "control", onclick: retry }, "Try now"));
    trouble.hidden = false;
    document.body.classList.add("away");
    countDown();
  }
  byId("trouble-why").textContent = error.message.replace(/[.;]?( try again)?$/, ".");
}

function countDown() {
  const left = byId("trouble-left");
  if (!left) return;
  const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  left.textContent = seconds > 0 ? `Next try in ${seconds} s.` : "Trying …";
  setTimeout(countDown, 250);
}

/** The question itself was refused; the same one again would be, too. */
export function showRefused(error, reset) {
  show("refused", make("div", { class: "trouble-text" }, make("b", {}, "This view cannot be counted."), " ", error.message),
    make("button", { type: "button", class: "control", onclick: reset }, "Reset the view"));
}

/** A key is asked for. */
export function showLocked(retry) {
  const input = make("input", { type: "password", class: "control", autocomplete: "off", required: true, "aria-label": "Read key", placeholder: "Read key" });
  const form = make("form", {
    class: "key-form",
    onsubmit: (event) => {
      event.preventDefault();
      useKey(input.value.trim());
      retry();
    },
  }, make("div", { class: "trouble-text" }, make("b", {}, hasKey() ? "That key does not open this site." : "These figures need a key."), " It stays in this tab and is forgotten with it."),
  input, make("button", { type: "submit", class: "primary" }, "Unlock"));
  show("locked", form);
  input.focus();
}

function show(kind, ...content) {
  clearTimeout(timer);
  const trouble = byId("trouble");
  trouble.dataset.kind = kind;
  trouble.replaceChildren(...content);
  trouble.hidden = false;
  document.body.classList.toggle("locked", kind === "locked");
  document.body.classList.remove("away");
}

/** Whether it was there before. */
export function clearTrouble() {
  clearTimeout(timer);
  failures = 0;
  const trouble = byId("trouble");
  const was = !trouble.hidden;
  trouble.hidden = true;
  trouble.replaceChildren();
  delete trouble.dataset.kind;
  document.body.classList.remove("away", "locked");
  return was;
}
