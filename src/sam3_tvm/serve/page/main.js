// The page: its tabs, its token, and whether the server is there.

import { asking, getJson, keepToken, request } from "./api.js";
import { attempt, byId, hideFault } from "./dom.js";
import { FilmTab } from "./film.js";
import { PictureTab } from "./picture.js";

const AGAIN = 1000; // milliseconds between two looks whether the model is loaded

function connectTabs(opened) {
  const tabs = [byId("tab-picture"), byId("tab-film")];
  const choose = (tab) => {
    for (const one of tabs) {
      const chosen = one === tab;
      one.ariaSelected = `${chosen}`;
      one.tabIndex = chosen ? 0 : -1;
      byId(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    opened(tab.getAttribute("aria-controls"));
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      const other = tabs[1 - at];
      choose(other);
      other.focus();
    });
  });
}

/** Requests that come while the token is asked for wait for the same answer. */
function connectToken() {
  const dialog = byId("token-dialog");
  let answer = null;
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(byId("token").value.trim());
    byId("token").value = "";
    dialog.close();
    answer.done();
    answer = null;
  });
  asking.token = (again) => {
    if (!answer) {
      let done;
      const promise = new Promise((resolve) => (done = resolve));
      answer = { promise, done };
      byId("token-fault").textContent = again ? "The server says that this is another token." : "";
      dialog.showModal();
      byId("token").focus();
    }
    return answer.promise;
  };
}

async function waitForModel() {
  const text = byId("server");
  for (;;) {
    try {
      await request("/readyz");
      break;
    } catch (error) {
      text.textContent = error.status === 503 ? `${error.message} …` : error.message;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
  await attempt(async () => {
    const { tasks, version } = await getJson("/v1");
    text.textContent = `${version}, ready`;
    byId("tab-film").disabled = !tasks.includes("video");
    if (!tasks.includes("video")) byId("tab-film").title = "The artifact is not for video.";
  });
}

connectToken();
const picture = new PictureTab();
const film = new FilmTab();
connectTabs((name) => (name === "film" ? film : picture).viewer.resize());
byId("fault-close").addEventListener("click", () => {
  hideFault();
  byId("main").focus();
});
waitForModel();
