// Small helpers for the document, and what the page tells its user.

export const byId = (id) => document.getElementById(id);

/** An element; what is given as `on...` listens, the rest are attributes or properties. */
export function make(tag, about = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Say something to who listens to the page, politely. */
export function say(text) {
  const region = byId("status");
  // The same words again are said again.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

export function showFault(text) {
  byId("fault-text").textContent = text;
  byId("fault").hidden = false;
}

export function hideFault() {
  byId("fault").hidden = true;
  byId("fault-text").textContent = "";
}

/** Run something that may fail, and show how; whether it succeeded. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    const wait = error.retryAfter ? ` (try again in ${error.retryAfter} s)` : "";
    showFault(`${error.message}${wait}`);
    if (error.status === undefined) console.error(error);
    return false;
  }
}

/** Take files that are dropped on an element. */
export function acceptDrops(element, take) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

/** Let the browser save bytes under a name. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A chip with a button that removes it. */
export function chip(text, remove, kind = "") {
  return make("li", {}, make("span", { className: `text ${kind}`, title: text }, text),
    make("button", { type: "button", ariaLabel: `Remove ${text}`, onclick: remove }, "×"));
}

/** Replace an element's children, and keep the focus at the same place among its controls. */
export function refill(element, children) {
  const controls = () => [...element.querySelectorAll("button, input")];
  const at = controls().indexOf(document.activeElement);
  element.replaceChildren(...children);
  if (at >= 0) {
    const now = controls();
    (now[Math.min(at, now.length - 1)] ?? element.closest("section")?.querySelector("input, button"))?.focus();
  }
}
