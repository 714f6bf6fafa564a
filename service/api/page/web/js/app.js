// The page: what is served, and the views by the address.
import { getJson } from "./api.js";
import { readAddress, writeAddress } from "./address.js";
import { html, render, useEffect, useState } from "./html.js";
import Try from "./views/try.js";

// Loaded when it is asked for; a server that was replaced meanwhile has other files, so once more.
const OTHERS = {
  compare: () => import("./views/compare.js"),
  fold: () => import("./views/fold.js"),
  operate: () => import("./views/operate.js"),
};
const THEMES = { "": "as the system", light: "light", dark: "dark" };

function App() {
  const [served, setServed] = useState(null);
  const [failure, setFailure] = useState(null);
  const [{ view, state }, setAddress] = useState(readAddress(location.hash));
  const [views, setViews] = useState({ "": Try, try: Try });

  const load = () =>
    getJson("v1/models").then(
      (list) => (setServed(withCallNames(list.models)), setFailure(null)),
      (error) => setFailure(error),
    );
  useEffect(() => {
    load();
    const changed = () => setAddress(readAddress(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  useEffect(() => {
    markCurrent(view || "try");
    if (views[view] || !OTHERS[view]) return;
    OTHERS[view]().then((module) => setViews((all) => ({ ...all, [view]: module.default })), reloadOnce);
  }, [view]);

  if (failure) {
    return html`<p class="error" role="alert">${failure.message}
      <button type="button" onClick=${load}>Ask again</button></p>`;
  }
  if (!served) return html`<p role="status">Asking which networks are served …</p>`;
  const change = (changes) => {
    const next = { ...state, ...changes };
    setAddress({ view, state: next });
    writeAddress(view || "try", next);
  };
  const Shown = views[view] || (OTHERS[view] ? Loading : Try);
  return html`<${Shown} models=${served} state=${state} setState=${change} />`;
}

// The newest version of a network is asked for by its name, older ones by name@version.
function withCallNames(models) {
  const seen = new Set();
  return models.map((model) => {
    const newest = !seen.has(model.name);
    seen.add(model.name);
    return { ...model, call: newest ? model.name : `${model.name}@${model.version}` };
  });
}

const Loading = () => html`<p role="status">Loading …</p>`;

function markCurrent(view) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function reloadOnce() {
  const now = Date.now();
  if (now - Number(sessionStorage.getItem("reloaded")) < 10_000) return;
  sessionStorage.setItem("reloaded", now);
  location.reload();
}

function offerThemes(button) {
  const root = document.documentElement;
  const names = Object.keys(THEMES);
  const label = () => (button.textContent = `Theme: ${THEMES[root.dataset.theme || ""]}`);
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(root.dataset.theme || "") + 1) % names.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    localStorage.setItem("theme", next);
    label();
  });
  label();
}

offerThemes(document.getElementById("theme"));
const view = document.getElementById("view");
view.replaceChildren();
render(html`<${App} />`, view);
