// Elements are built, never parsed: what the events say reaches the page as text alone.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element; children are nodes or text, null ones are left out. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else element.setAttribute(key, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A drawing of one stroke. */
export function drawing(path, size = 16) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("width", size);
  svg.setAttribute("height", size);
  svg.setAttribute("aria-hidden", "true");
  const stroke = document.createElementNS(SVG, "path");
  stroke.setAttribute("d", path);
  svg.append(stroke);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Text for people who do not see the page. */
export const hidden = (text) => make("span", { class: "hidden" }, text);

/** Says something to screen readers, once; each place speaks for itself. */
export function say(text, place = "said") {
  const said = byId(place);
  if (said.textContent !== text) said.textContent = text;
}

/** Storage that may be forbidden or full. */
export function kept(storage, key) {
  try {
    return globalThis[storage].getItem(`weir.${key}`);
  } catch {
    return null;
  }
}

export function keep(storage, key, value) {
  try {
    if (value === null) globalThis[storage].removeItem(`weir.${key}`);
    else globalThis[storage].setItem(`weir.${key}`, value);
  } catch {
    // Then it is asked for again next time.
  }
}
