// Runs before the first paint, so that nobody who chose the dark sees a flash of the light.
const root = document.documentElement;
try {
  root.dataset.theme = localStorage.getItem("weir.theme") ?? "system";
} catch {
  // Storage may be forbidden: then the system decides.
  root.dataset.theme = "system";
}
