// The list of objects: a row for each, with its colour, name, score, and whether it is shown.

import { css } from "./colours.js";
import { make, refill } from "./dom.js";

/**
 * Fill the list.
 *
 * @param {HTMLElement} list
 * @param {{id: string, name: string, about: string, colour: number[], shown: boolean,
 *   rename?: (name: string) => void, remove?: () => void}[]} rows
 * @param {{show: (id: string, shown: boolean) => void, light: (id: string | null) => void}} on
 */
export function listObjects(list, rows, on) {
  refill(list, rows.map((row) => rowOf(row, on)));
}

function rowOf(row, on) {
  const swatch = make("span", { className: "swatch" });
  swatch.style.background = css(row.colour);
  const name = row.rename
    ? make("input", { type: "text", value: row.name, maxLength: 200, ariaLabel: `Name of ${row.name}`,
      onchange: (event) => row.rename(event.target.value.trim() || row.name) })
    : make("span", { className: "name", title: row.name }, row.name);
  const line = make("li", { onmouseenter: () => on.light(row.id), onmouseleave: () => on.light(null),
    onfocusin: () => on.light(row.id), onfocusout: () => on.light(null) },
  make("input", { type: "checkbox", checked: row.shown, ariaLabel: `Show ${row.name}, ${row.about}`,
    onchange: (event) => on.show(row.id, event.target.checked) }),
  swatch, name, make("span", { className: "score" }, row.about));
  if (row.remove) {
    line.append(make("button", { type: "button", ariaLabel: `Remove ${row.name}`, onclick: row.remove }, "×"));
  }
  line.dataset.id = row.id;
  return line;
}
