// The page: what is served, and the views by the address.
import { getJson } from "./api.js";
import { readAddress, writeAddress } from "./address.js";
import { html, render, useEffect, useState } from "./html.js";
import Try from "./views/try.js";

const THEMES = { "": "as the system", light: "light", dark: "dark" };

function App() {
  const [served, setServed] = useState(null);
  const [failure, setFailure] = useState(null);
  const [state, setState] = useState(readAddress(location.hash).state);

  const load = () =>
    getJson("v1/models").then(
      (list) => (setServed(list.models), setFailure(null)),
      (error) => setFailure(error),
    );
  useEffect(() => {
    load();
    const changed = () => setState(readAddress(location.hash).state);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);

  if (failure) {
    return html`<p class="error" role="alert">${failure.message}
      <button type="button" onClick=${load}>Ask again</button></p>`;
  }
  if (!served) return html`<p role="status">Asking which networks are served …</p>`;
  const change = (changes) => {
    const next = { ...state, ...changes };
    setState(next);
    writeAddress("try", next);
  };
  return html`<${Try} models=${served} state=${state} setState=${change} />`;
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
