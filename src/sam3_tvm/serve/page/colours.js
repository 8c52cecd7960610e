// The colours that the library gives objects: runtime/pictures/colours.py.

const LIGHTNESS = [0.55, 0.45, 0.65];

/** The n-th of any number of vivid colours, 8-bit red, green, blue. */
export function objectColour(index) {
  const hue = (0.56 + index * 0.618033988749895) % 1;
  const lightness = LIGHTNESS[Math.floor(index / 5) % 3];
  const saturation = 0.95;
  const spread = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((n) => {
    const k = (n + hue * 12) % 12;
    return Math.round(255 * (lightness - spread * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}

export function css([red, green, blue], alpha = 1) {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}
