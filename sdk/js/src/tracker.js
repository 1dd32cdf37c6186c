// What the script and the ES module share. build.js puts it into script.js and module.js, where
// `options` and `address` are. It is written to be small once it is minified and packed: `let` for
// all names, and one way to say a thing.

let waiting = [];
let timer;
let user = options.user;
let referrer = document.referrer;

let url = () => location.href.split("hash" in options ? "\n" : "#")[0];
let seen = url();

let flush = () => {
  timer = clearTimeout(timer);
  waiting.splice(0).map((send) => send());
};

let listen = (types, listener) =>
  types.split(" ").map((type) => addEventListener(type, listener, true));

let track = (type, props) => {
  // It happens when the page is shown, if it ever is.
  if (document.prerendering) return waiting.push(() => track(type, props));
  try {
    if (
      ("dnt" in options && (navigator.doNotTrack == 1 || navigator.globalPrivacyControl)) ||
      // Last: a sandboxed frame may not read it.
      localStorage.weir_ignore
    )
      return;
  } catch {}
  let delay;
  let at = Date.now();
  let body = JSON.stringify({
    site_id: options.site,
    // A UUID of version 7: crypto.randomUUID makes another one, and none in a page without TLS.
    event_id: (0 + at.toString(16) + crypto.getRandomValues(new Uint32Array(4)).join("")).replace(
      /(.{8})(....)(...)(...)(.{12}).*/,
      "$1-$2-7$3-8$4-$5",
    ),
    url: url(),
    referrer,
    language: navigator.language,
    screen: innerWidth + "",
    user_id: user,
    props,
    event_type: type,
  });
  // A failed fetch brings an error instead of seconds. Delays grow to a minute, and differ from
  // page to page by the millisecond in which the event happened.
  let retry = (seconds) => {
    waiting[99] || waiting.push(send);
    timer ||= setTimeout(flush, (+seconds || (delay = ((2 * delay) & 63) | 1)) * (1e3 + (at % 1e3)));
  };
  // The age, because the device's clock may be wrong. Browsers let a page send 64 KiB that outlive
  // it; a larger body must do without.
  let send = () =>
    fetch((options.api || address) + "?age=" + (Date.now() - at) + "&key=" + (options.key || ""), {
      method: "POST",
      body,
      keepalive: body.length < 2e4,
    }).then(
      (answer) =>
        /429|5../.test(answer.status)
          ? retry(answer.headers.get("retry-after"))
          : answer.ok || answer.text().then(console.warn),
      retry,
    );
  // While others wait for the server, it waits, too.
  timer ? retry() : send();
};

// Of a view in the same document, the page before is the referrer, as it is between documents.
let view = (again) => {
  if (again || url() != seen) {
    referrer = seen;
    seen = url();
    track("page_view");
  }
};

for (let name of ["pushState", "replaceState"]) {
  let change = history[name];
  history[name] = (...state) => view(change.apply(history, state));
}

listen("prerenderingchange visibilitychange online", flush);
listen("popstate pageshow click auxclick", (event) => {
  // Only pages that come back from the back-forward cache are persisted when they are shown.
  view(event.persisted);
  // The right button follows no link.
  event.button > 1 ||
    event.composedPath().map((element) => {
      let type = element.dataset?.weirEvent;
      type && track(type);
      type = /\.(pdf|zip|docx?|xlsx?|csv|mp4)$/.test(element.pathname)
        ? "downloads"
        : element.origin != origin && "outbound";
      element.hostname &&
        type in options &&
        track(type, { url: element.origin + element.pathname });
    });
});

track.identify = (id) => (user = id && id + "");
