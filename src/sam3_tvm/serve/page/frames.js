// A film's frames as pictures, by number; the latest are kept.

import { request } from "./api.js";

const KEPT = 96;

export class FrameSource {
  #kept = new Map();

  constructor(film) { this.film = film; }

  /** @returns {Promise<ImageBitmap>} */
  get(index) {
    let one = this.#kept.get(index);
    if (one) this.#kept.delete(index); // and again, as the latest
    else {
      one = request(`/v1/videos/${this.film.id}/frames/${index}`)
        .then((response) => response.blob()).then(createImageBitmap);
      one.catch(() => this.#kept.delete(index));
    }
    this.#kept.set(index, one);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    return one;
  }
}
