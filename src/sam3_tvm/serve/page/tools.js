// What both tabs have: pointers to choose, zoom buttons, and keys for them.

const BOXES = new Set(["around", "like", "unlike"]);

export class Tools {
  /** @param {HTMLElement} tab @param {string} name of the radio buttons */
  constructor(tab, name) {
    this.radios = [...tab.querySelectorAll(`input[name=${name}]`)];
  }

  get tool() {
    const name = this.radios.find((one) => one.checked).value;
    return { name, box: BOXES.has(name) };
  }

  choose(number) {
    const radio = this.radios[number - 1];
    if (!radio) return null;
    radio.checked = true;
    radio.dispatchEvent(new Event("change"));
    return radio.nextElementSibling.textContent;
  }

  /** Connect them with the picture that they are for. */
  connect(tab, viewer) {
    for (const radio of this.radios) {
      radio.addEventListener("change", () => {
        viewer.corner = null;
        viewer.touch();
        viewer.draw();
      });
    }
    const factors = { in: 1.5, out: 1 / 1.5, fit: 0 };
    for (const button of tab.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => viewer.zoomBy(factors[button.dataset.zoom]));
    }
  }
}

/** Undo and redo by keys, where no text is being written. */
export function historyKeys(tab, history, say) {
  document.addEventListener("keydown", (event) => {
    if (tab.hidden || !(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.target.matches?.("input[type=text], input[type=password]")) return;
    const key = event.key.toLowerCase();
    const redo = key === "y" || (key === "z" && event.shiftKey);
    if (key !== "z" && !redo) return;
    event.preventDefault();
    const done = redo ? history.redo() : history.undo();
    if (done) say(redo ? "Redone." : "Undone.");
    else say(redo ? "Nothing to redo." : "Nothing to undo.");
  });
}
