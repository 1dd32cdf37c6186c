// weir.mjs: starts when a page's own script says so, and once.
let started;

const run = (options) => {
  // The script's own, where it has no data-api; here `api` has to be given.
  let address = options.api;
  // {{tracker}}
  track(404 in options ? "404" : "page_view");
  return track;
};

export const start = ({ notFound, ...rest }) => {
  // Nothing happens where a page is made on a server.
  if (typeof document == "undefined") return Object.assign(() => {}, { identify() {} });
  // The tracker looks which options are there, as attributes of a tag are.
  const given = Object.entries({ ...rest, 404: notFound }).filter(([, value]) => value);
  return (started ||= run(Object.fromEntries(given)));
};
