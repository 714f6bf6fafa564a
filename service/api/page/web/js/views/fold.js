// Fold: where each batch norm went, and the proof that nothing else changed.
import { getJson } from "../api.js";
import { html, useEffect, useState } from "../html.js";

const whole = new Intl.NumberFormat("en");
const small = (value) => (value === 0 ? "0" : value.toExponential(1));

export default function Fold({ models, state, setState }) {
  const [found, setFound] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    getJson("v1/compare").then((answer) => setFound(answer.models), setFailure);
  }, [models]);
  if (failure) return html`<p class="error" role="alert">${failure.message}</p>`;
  if (!found) return html`<p role="status">Asking for the folds …</p>`;
  const folded = found.filter((model) => model.fold);
  if (!folded.length) {
    return html`<section><h2>The fold</h2><p>No network that is served had batch norms that were folded.</p></section>`;
  }
  const ids = folded.map((model) => `${model.name}@${model.version}`);
  const at = Math.max(0, ids.indexOf(state.network));
  const model = folded[at];
  return html`<section aria-labelledby="fold">
    <h2 id="fold">What became of the batch norms?</h2>
    <p><label>Network <select value=${ids[at]} onChange=${(event) => setState({ network: event.target.value })}>
      ${ids.map((id) => html`<option key=${id} value=${id}>${id}</option>`)}</select></label></p>
    <p class="lead">In use a batch norm multiplies each channel by a number and adds one. So does the layer beside it:
      its weights and bias take both over, and the batch norm goes.</p>
    <${Layers} layers=${model.fold.layers} />
    <${Graphs} graphs=${model.graphs} />
    <${Proof} proof=${model.fold.proof} />
    <p>From the artifact's manifest, <a href=${`v1/models/${model.name}`}>v1/models/${model.name}</a>.</p>
  </section>`;
}

function Layers({ layers }) {
  return html`<div class="wide" tabindex="0" role="region" aria-label="Batch norms"><table><thead><tr>
      <th scope="col">batch norm</th><th scope="col">channels</th><th scope="col">went into</th>
      <th scope="col">largest factor of a channel</th></tr></thead>
    <tbody>${layers.map((layer) => html`<tr key=${layer.norm}><th scope="row">${layer.norm}</th>
      <td>${layer.channels}</td><td>${layer.into ?? `stays: ${layer.reason}`}</td>
      <td>${layer.largest_scale === null ? "" : layer.largest_scale.toPrecision(4)}</td></tr>`)}</tbody></table></div>`;
}

function Graphs({ graphs }) {
  const { unfolded, folded } = graphs;
  const operators = [...new Set([...Object.keys(unfolded.nodes), ...Object.keys(folded.nodes)])];
  const ms = (graph, optimization) =>
    graph.latency.find((one) => one.optimization === optimization && one.batch_size === 1)?.median_ms.toFixed(3) ?? "";
  const rows = [
    ...operators.map((name) => [name, unfolded.nodes[name] ?? 0, folded.nodes[name] ?? 0]),
    ["numbers in layers", unfolded.parameters, folded.parameters].map((cell) => (typeof cell === "number" ? whole.format(cell) : cell)),
    ["bytes of the file", whole.format(unfolded.size_bytes), whole.format(folded.size_bytes)],
    ["ms of one image, as written", ms(unfolded, "disable_all"), ms(folded, "disable_all")],
    ["ms of one image, rewritten by onnxruntime", ms(unfolded, "enable_all"), ms(folded, "enable_all")],
  ];
  return html`<h3>Before and after</h3>
    <div class="wide" tabindex="0" role="region" aria-label="Before and after"><table><thead><tr>
      <th scope="col">operators and cost</th><th scope="col">before</th><th scope="col">after</th></tr></thead>
    <tbody>${rows.map(([name, before, after]) => html`<tr key=${name} class=${before === after ? "" : "changed"}>
      <th scope="row">${name}</th><td>${before}</td><td>${after}</td></tr>`)}</tbody></table></div>`;
}

function Proof({ proof }) {
  const rows = [
    ["test images that were compared", whole.format(proof.images)],
    ["largest logit", proof.scale.toPrecision(4)],
    ["error of the algebra, in float64", small(proof.algebra_error_float64)],
    ["error of float32 before the fold", small(proof.unfolded_error_float32)],
    ["error of float32 after it", small(proof.folded_error_float32)],
    ["worst of adversarial inputs, 1 is allowed", proof.adversarial_error_ratio.toFixed(3)],
    ["answers that changed", whole.format(proof.label_changes)],
    ["… that rounding does not explain", whole.format(proof.unexplained_label_changes)],
  ];
  return html`<h3>${proof.holds ? "The proof holds: no answer changes but by rounding" : "The proof does not hold"}</h3>
    <div class="wide" tabindex="0" role="region" aria-label="Proof"><table><thead><tr>
      <th scope="col">measured</th><th scope="col">value</th></tr></thead><tbody>
      ${rows.map(([name, value]) => html`<tr key=${name}><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table></div>`;
}
