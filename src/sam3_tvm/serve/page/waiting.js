// How long something will take, as it is waited for.

const TICK = 250;

/** "8 s" or "2 min". */
export function seconds(value) {
  return value < 90 ? `${Math.max(1, Math.round(value))} s` : `${Math.round(value / 60)} min`;
}

/**
 * Show time passing until it is stopped.
 *
 * @param {{box: HTMLElement, bar: HTMLProgressElement, text: HTMLElement}} where
 * @param {string} what is done
 * @param {number | null} expected seconds, where that is known
 * @returns {() => void} stops it
 */
export function waitFor({ box, bar, text }, what, expected) {
  const begun = performance.now();
  const tick = () => {
    const now = (performance.now() - begun) / 1000;
    if (expected) {
      bar.max = expected;
      bar.value = Math.min(now, expected * 0.98);
    } else bar.removeAttribute("value");
    const about = expected ? `about ${seconds(expected)}` : "how long isn't known yet";
    const late = expected && now > expected * 1.5 ? "; longer than usual" : "";
    text.textContent = `${what}: ${about}; ${Math.floor(now)} s passed${late}. Prompts can be prepared meanwhile.`;
  };
  box.hidden = false;
  tick();
  const timer = setInterval(tick, TICK);
  return () => {
    clearInterval(timer);
    box.hidden = true;
  };
}
