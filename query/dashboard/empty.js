// A site without events: how to send the first one, and a page that notices by itself.

import { ask } from "./api.js";
import { byId, drawing, make, say } from "./dom.js";

const COPY = "M7 7V4.5A1.5 1.5 0 0 1 8.5 3h7A1.5 1.5 0 0 1 17 4.500v7a1.5 1.5 0 0 1-1.5 1.500H13M4.5 7h7A1.5 1.5 0 0 1 13 8.500v7a1.5 1.5 0 0 1-1.5 1.500h-7A1.5 1.5 0 0 1 3 15.500v-7A1.5 1.5 0 0 1 4.5 7z";

export async function showWaiting(site) {
  const waiting = byId("waiting");
  byId("figures").hidden = true;
  byId("bar").hidden = true;
  if (!waiting.hidden && waiting.dataset.site === site) return;
  const { public_url: ingest, script, public_key: key } = await ask("/tag", new URLSearchParams({ site_id: site }));
  waiting.dataset.site = site;
  waiting.hidden = false;
  const tag = `<script defer src="${script}" data-site="${site}"${key ? ` data-key="${key}"` : ""}></script>`;
  const event = `{"site_id": "${site}", "event_type": "page_view",\n       "path": "/hello", "user_id": "me"}`;
  const curl = `curl ${ingest}/event \\\n${key ? "  -H 'Authorization: Bearer SECRET_KEY' \\\n" : ""}  -d '${event}'`;
  waiting.replaceChildren(make("section", { class: "card waiting", "aria-labelledby": "waiting-title" },
    make("div", { class: "waiting-mark", "aria-hidden": "true" }, drawing("M1 6c3 0 3 2.4 6 2.400S10 6 13 6s3 2.4 6 2.400M1 12c3 0 3 2.4 6 2.400S10 12 13 12s3 2.4 6 2.4", 44)),
    make("h2", { id: "waiting-title" }, "Waiting for your first event"),
    make("p", { class: "lead" }, "Nothing has arrived for ", make("b", {}, site), " yet. Put this line into the head of every page, and this page fills by itself within seconds of the first visit."),
    code("Into the head of every page", tag, "tag"), code("Or try it from a terminal", curl),
    make("p", { class: "small" }, "Pages reach weir at ", make("code", {}, ingest), ", as ", make("code", {}, "ingest.public_url"), " says. ", make("a", { href: "/api-docs" }, "The API"))));
  say(`Waiting for the first event of ${site}.`);
}

/** Whether it was there before. */
export function hideWaiting() {
  const was = !byId("waiting").hidden;
  byId("waiting").hidden = true;
  byId("figures").hidden = false;
  byId("bar").hidden = false;
  return was;
}

function code(title, text, id = null) {
  const button = make("button", { type: "button", class: "control icon copy", "aria-label": `Copy: ${title}`, onclick: () => copy(text, button) }, drawing(COPY, 18));
  return make("figure", { class: "code", id }, make("figcaption", {}, title, button), make("pre", { tabindex: "0", "aria-label": title }, make("code", {}, text)));
}

/** Copies, and shows on the button that it did. */
export async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages without TLS on other hosts may not copy.
    done = false;
  }
  button.classList.add(done ? "copied" : "not-copied");
  say(done ? "Copied." : "The browser does not let this page copy. The link is in the address bar.");
  setTimeout(() => button.classList.remove("copied", "not-copied"), 1500);
}
