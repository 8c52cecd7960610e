// Brings a picture to the server, which encodes it.

import { ApiError, getJson } from "./api.js";
import { byId, say } from "./dom.js";
import { seconds, waitFor } from "./waiting.js";

export class Upload {
  /**
   * Show a file, and have it encoded.
   *
   * @param {File} file
   * @param {(bitmap: ImageBitmap) => void} show called as soon as it can be seen
   * @returns {Promise<object | null>} the picture: id, name, width, height, bitmap (null where the
   *   browser can't show the file), file; null if another was opened meanwhile
   */
  async open(file, show) {
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    // As the server, upright by EXIF.
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
    if (stop.signal.aborted) return null;
    if (bitmap) show(bitmap);
    const about = await this.#send(file, stop.signal);
    if (stop.signal.aborted) return null;
    if (!bitmap) say("This browser cannot show the picture; masks are drawn on grey.");
    return { ...about, name: file.name || "picture.png", bitmap, file };
  }

  /** Do something with a picture; once more if the server has forgotten it. */
  async again(picture, work) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      await this.#send(picture.file, this.stop.signal);
      await work();
    }
  }

  async #send(file, signal) {
    const { kinds } = await getJson("/v1", { signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      return { kinds: {} };
    });
    const { seconds: each, under_way: before = 0 } = kinds.encode ?? {};
    const expected = each ? each * (before + 1) : null;
    if (expected > 1) say(`The picture is encoded, which takes about ${seconds(expected)}. Prompts can be prepared meanwhile.`);
    const where = { box: byId("encoding"), bar: byId("encoding-bar"), text: byId("encoding-text") };
    this.done?.();
    const done = (this.done = waitFor(where, before ? `Encoding the picture, after ${before} other${before > 1 ? "s" : ""}` : "Encoding the picture", expected));
    try {
      return await getJson("/v1/images", { body: file, type: "application/octet-stream", signal });
    } finally {
      if (this.done === done) done();
    }
  }
}
