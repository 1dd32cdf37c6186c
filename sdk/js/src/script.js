// w.js: starts by what its tag says. A second tag for it in the same page does nothing.
if (!self.weir?.identify) {
  let { src: address, dataset: options } = document.currentScript;
  // {{tracker}}
  weir = track;
  track(404 in options ? "404" : "page_view");
}
