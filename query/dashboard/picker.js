// One of many by name: type to narrow it down, arrows to move, Enter to take.

import { make } from "./dom.js";
import { popover } from "./popover.js";

const SHOWN_MAX = 200;
let pickers = 0;

/**
 * `options()` are `{value, label, detail}`; `selected()` is a value; `own(typed)` may make an
 * option of what was typed where no option is called so.
 */
export function picker(button, { label, placeholder, options, selected, own, onPick }) {
  const id = `picker-${(pickers += 1)}`;
  popover(button, { label, kind: "picker", fill });

  function fill(close) {
    let shown = [];
    let active = -1;
    const list = make("ul", { class: "options", role: "listbox", id, "aria-label": label });
    const none = make("p", { class: "none", role: "status" });
    const input = make("input", {
      type: "text", class: "search", role: "combobox", placeholder, "aria-label": label,
      "aria-expanded": "true", "aria-controls": id, "aria-autocomplete": "list",
      autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "128", "data-first": true,
    });

    const take = (option) => {
      close();
      onPick(option.value);
    };
    const activate = (index, scroll = true) => {
      active = index;
      for (const [at, item] of [...list.children].entries()) item.classList.toggle("active", at === index);
      const item = list.children[index];
      if (!item) return input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-activedescendant", item.id);
      if (scroll) item.scrollIntoView({ block: "nearest" });
    };
    const narrow = () => {
      const typed = input.value.trim().toLowerCase();
      const fits = ({ label, detail }) => `${label} ${detail ?? ""}`.toLowerCase().replaceAll("_", " ").includes(typed.replaceAll("_", " "));
      shown = options().filter(fits).slice(0, SHOWN_MAX);
      const exact = shown.some(({ label }) => label.toLowerCase() === typed);
      const made = typed && !exact ? own?.(input.value.trim()) : null;
      if (made) shown.push(made);
      list.replaceChildren(...shown.map((option, index) => make("li", {
        role: "option", id: `${id}-${index}`, "aria-selected": String(option.value === selected()),
        onclick: () => take(option), onpointermove: () => active !== index && activate(index, false),
      }, make("span", { class: "option-name" }, option.label), option.detail ? make("span", { class: "option-detail" }, option.detail) : null)));
      none.textContent = shown.length === 0 ? "Nothing matches." : "";
      const at = shown.findIndex((option) => option.value === selected());
      activate(typed ? 0 : Math.max(at, 0));
    };
    input.addEventListener("input", narrow);
    input.addEventListener("keydown", (event) => {
      const last = shown.length - 1;
      const moves = { ArrowDown: Math.min(active + 1, last), ArrowUp: Math.max(active - 1, 0), PageDown: Math.min(active + 8, last), PageUp: Math.max(active - 8, 0) };
      if (event.key in moves) {
        activate(moves[event.key]);
        event.preventDefault();
      } else if (event.key === "Enter" && shown[active]) {
        take(shown[active]);
        event.preventDefault();
      }
    });
    narrow();
    // Scrolling to what is selected needs a panel that can be seen.
    requestAnimationFrame(() => activate(active));
    return [input, list, none];
  }
}
