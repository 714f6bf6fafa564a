// Try: pictures in, every chosen network's answer side by side.
import { post } from "../api.js";
import { html, useRef, useState } from "../html.js";
import { Intake } from "../image/intake.js";
import { FilePreview, PixelPreview } from "../image/preview.js";
import { asCurl, asJavaScript, asPython, Snippets } from "./request.js";

const EXAMPLES = [
  ...["airplane", "automobile", "bird", "cat", "deer"],
  ...["dog", "frog", "horse", "ship", "truck"],
];
const AT_ONCE = 2; // requests; the service has others to answer
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

export default function Try({ models, state, setState }) {
  const [cards, setCards] = useState([]);
  const [said, say] = useState("");
  const waiting = useRef([]);
  const running = useRef(0);
  const chosen = chosenModels(models, state.models);

  const update = (id, change) =>
    setCards((all) => all.map((card) => (card.id === id ? { ...card, ...change } : card)));

  const next = () => {
    while (running.current < AT_ONCE && waiting.current.length) {
      const card = waiting.current.shift();
      running.current += 1;
      classify(card.file, card.models).then(
        (answer) => (update(card.id, { answer }), say(inWords(card, answer))),
        (error) => (update(card.id, { error }), say(`${card.file.name}: ${error.message}`)),
      ).finally(() => ((running.current -= 1), next()));
    }
  };
  const take = (files, truth = null) => {
    const fresh = files.map((file) => ({ id: crypto.randomUUID?.() ?? Math.random(), file, truth, models: chosen }));
    setCards((all) => [...fresh, ...all]);
    waiting.current.push(...fresh);
    next();
  };
  const example = async (name) => {
    const address = new URL(`../../examples/${name}.png`, import.meta.url);
    const content = await (await fetch(address)).blob();
    take([new File([content], `${name}.png`, { type: "image/png" })], name);
  };
  const toggle = (name) => {
    const others = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
    if (others.length) setState({ models: others.join(",") });
  };

  return html`<section aria-labelledby="try">
    <h2 id="try">Try a picture</h2>
    <fieldset class="models"><legend>Networks that answer</legend>
      ${models.map(({ call }) => html`<label key=${call}>
        <input type="checkbox" checked=${chosen.includes(call)} onChange=${() => toggle(call)} />
        ${call}</label>`)}
    </fieldset>
    <${Intake} onFiles=${take} examples=${html`<div class="examples" role="group" aria-label="Shipped examples: real test images">
      ${EXAMPLES.map((name) => html`<button type="button" key=${name} onClick=${() => example(name)}
        aria-label="Example: ${name}"><img src=${new URL(`../../examples/${name}.png`, import.meta.url).href} alt="" width="48" height="48" /></button>`)}
    </div>`} />
    <p class="hidden" role="status">${said}</p>
    <div class="cards">${cards.map((card) => html`<${Card} key=${card.id} card=${card} />`)}</div>
    <${Snippets} title="The same request by a program" snippets=${{
      curl: asCurl(location, chosen), Python: asPython(location, chosen), JavaScript: asJavaScript(location, chosen),
    }} />
  </section>`;
}

function chosenModels(models, stated) {
  const served = models.map((model) => model.call);
  const asked = (stated || "").split(",").filter((name) => served.includes(name));
  if (asked.length) return asked;
  const main = models.find((model) => model.default);
  const plain = models.filter(
    (model) => !["int8", "unfolded"].includes(model.variant) && model.call === model.name,
  );
  return [main, ...plain.filter((model) => model !== main)].slice(0, 4).map((model) => model.call);
}

async function classify(file, names) {
  const type = file.type || "application/octet-stream";
  if (names.length > 1) {
    return post(`v1/compare?pixels=true&models=${names.map(encodeURIComponent).join(",")}`, file, type);
  }
  const answer = await post(`v1/predict?model=${encodeURIComponent(names[0])}`, file, type);
  return {
    models: [{ model: answer.model, predictions: answer.predictions, pixels: null }],
    images: [{ agree: null, js_divergence: null, max_logit_difference: null }],
    timing_ms: { run: { [names[0]]: answer.timing_ms.run } },
  };
}

function inWords(card, answer) {
  const said = answer.models.map((one, at) => `${card.models[at]} says ${one.predictions[0].label}`);
  return `${card.file.name}: ${said.join(", ")}.`;
}

function Card({ card }) {
  const { file, truth, answer, error } = card;
  return html`<article class="card" aria-busy=${!answer && !error}>
    <div class="pictures"><${FilePreview} file=${file} />${answer && seen(card).map(
      (one) => html`<${PixelPreview} ...${one} />`)}</div>
    <h3>${file.name}${truth && html` <small>it is: ${truth}</small>`}</h3>
    ${!answer && !error && html`<p>Waiting …</p>`}
    ${error && html`<div class="error"><p><strong>${error.title}.</strong> ${error.message}</p>
      ${error.retryAfter && html`<p>Try again in ${error.retryAfter} s.</p>`}</div>`}
    ${answer && html`<p>${agreement(answer)}</p>
      <div class="answers">${answer.models.map((one, at) => html`<${Answer}
        name=${card.models[at]} predictions=${one.predictions} ms=${answer.timing_ms.run[card.models[at]]} truth=${truth} />`)}</div>`}
  </article>`;
}

// Networks of one size and rule see the same: it is shown once.
function seen(card) {
  const groups = new Map();
  for (const [at, { pixels }] of card.answer.models.entries()) {
    if (!pixels) continue;
    const key = `${pixels[0].height} ${pixels[0].width} ${pixels[0].data}`;
    const group = groups.get(key) || { pixels: pixels[0], names: [] };
    group.names.push(card.models[at]);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ pixels, names }) => ({ pixels, models: names.join(", ") }));
}

function agreement(answer) {
  const [{ agree, js_divergence: bits }] = answer.images;
  if (agree === null) return answer.models.length > 1 ? "They know different classes." : "";
  const apart = `Their probabilities are ${bits.toFixed(3)} bits apart (0: the same).`;
  return `${agree ? "All put the same class first." : "They do not agree."} ${apart}`;
}

function Answer({ name, predictions, ms, truth }) {
  return html`<div class="answer">
    <h4>${name} <small>${ms.toFixed(2)} ms</small></h4>
    <ol>${predictions[0].top.map((label) => html`<li class=${label.label === truth ? "true" : ""}>
      <span class="label">${label.label}</span>
      <span class="bar"><span style=${{ width: `${100 * label.probability}%` }}></span></span>
      <span class="number">${percent.format(label.probability)}</span></li>`)}</ol>
  </div>`;
}
