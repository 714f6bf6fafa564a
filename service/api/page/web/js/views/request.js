// The request that the page makes, for a terminal and two languages.
import { html, useState } from "../html.js";

const address = ({ origin, pathname }, models) => {
  const base = `${origin}${pathname.replace(/[^/]*$/, "")}`;
  return models.length > 1 ? `${base}v1/compare?models=${models.join(",")}` : `${base}v1/predict?model=${models[0]}`;
};

export const asCurl = (location, models) =>
  `curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\\n  '${address(location, models)}'`;

export const asPython = (location, models) => `import urllib.request

request = urllib.request.Request(
    "${address(location, models)}",
    data=open("photo.jpg", "rb").read(),
    headers={"Content-Type": "image/jpeg"},
)
print(urllib.request.urlopen(request).read().decode())`;

export const asJavaScript = (location, models) => `const answer = await fetch(
  "${address(location, models)}",
  { method: "POST", body: file, headers: { "Content-Type": file.type } },
);
console.log(await answer.json());`;

export function Snippets({ title, snippets }) {
  const [copied, setCopied] = useState("");
  const copy = (name) =>
    navigator.clipboard.writeText(snippets[name]).then(
      () => setCopied(`${name} is copied.`),
      () => setCopied("The browser does not let this page copy: mark the text."),
    );
  return html`<details class="snippets"><summary>${title}</summary>
    ${Object.entries(snippets).map(([name, text]) => html`<div key=${name}>
      <h4>${name} <button type="button" onClick=${() => copy(name)}>Copy ${name}</button></h4>
      <pre tabindex="0"><code>${text}</code></pre></div>`)}
    <p role="status">${copied}</p>
  </details>`;
}
