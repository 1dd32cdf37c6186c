// A panel that a button opens. The browser's own popovers bring Escape, the click beside it and
// the way back for the focus; what is left is where it stands.

import { make } from "./dom.js";

const GAP_PX = 6;
const MARGIN_PX = 8;

/** Joins a button and its panel; `fill` builds the content anew each time, `first` gets the focus. */
export function popover(button, { label, fill, kind = "" }) {
  const panel = make("div", { class: `panel ${kind}`, popover: "auto", role: "dialog", "aria-label": label });
  document.body.append(panel);
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  button.popoverTargetElement = panel;
  const close = () => panel.hidePopover();

  panel.addEventListener("beforetoggle", (event) => {
    if (event.newState !== "open") return;
    panel.replaceChildren(...fill(close));
  });
  panel.addEventListener("toggle", (event) => {
    const open = event.newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    place(button, panel);
    const first = panel.querySelector("[data-first]") ?? panel.querySelector("input, button");
    first?.focus({ preventScroll: true });
  });
  addEventListener("resize", () => {
    if (panel.matches(":popover-open")) place(button, panel);
  });
  return { close };
}

function place(button, panel) {
  const anchor = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = panel;
  const left = Math.min(anchor.left, innerWidth - width - MARGIN_PX);
  const below = anchor.bottom + GAP_PX;
  const fits = below + height + MARGIN_PX <= innerHeight;
  panel.style.left = `${Math.max(MARGIN_PX, left)}px`;
  panel.style.top = `${fits ? below : Math.max(MARGIN_PX, innerHeight - height - MARGIN_PX)}px`;
}
