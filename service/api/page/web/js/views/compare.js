// Compare: what was measured of the served networks, against a baseline that the reader picks.
import { getJson } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { asCsv, firstEpoch, pairOf } from "../numbers.js";

const share = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 2 });
const points = new Intl.NumberFormat("en", { signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en");
const COLUMNS = ["network", "right answers", "lowest of 95 %", "highest of 95 %", "images", "points against the baseline",
  "only this one right", "only the baseline right", "McNemar p", "loss", "calibration error", "parameters",
  "multiply-accumulates", "bytes", "ms of one image"];

export default function Compare({ models, state, setState }) {
  const [found, setFound] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    getJson("v1/compare").then(setFound, setFailure);
  }, [models]);
  if (failure) return html`<p class="error" role="alert">${failure.message}</p>`;
  if (!found) return html`<p role="status">Asking for the evaluations …</p>`;
  const ids = found.models.map(idOf);
  const baseline = ids.includes(state.baseline) ? state.baseline : ids[leastRight(found.models)];
  const reach = Number(state.reach) || 0.79;
  const rows = found.models.map((model) => rowOf(model, found.pairs, baseline));
  return html`<section aria-labelledby="compare">
    <h2 id="compare">Which network is better, and how sure is that?</h2>
    <p><label>Against <select value=${baseline} onChange=${(event) => setState({ baseline: event.target.value })}>
      ${ids.map((id) => html`<option key=${id} value=${id}>${id}</option>`)}</select></label></p>
    <div class="wide" tabindex="0" role="region" aria-label="Evaluations">
      <table><thead><tr>
        <th scope="col">network</th><th scope="col">right answers (95 % interval)</th>
        <th scope="col">against the baseline</th><th scope="col">chance of that, were they as good</th>
        <th scope="col">loss</th><th scope="col">calibration error</th><th scope="col">parameters</th>
        <th scope="col">ms of one image</th></tr></thead>
        <tbody>${rows.map((row) => html`<tr key=${row.id}>
          <th scope="row">${row.id}</th><td>${row.accuracy}</td><td class=${row.sign}>${row.difference}</td>
          <td>${row.chance}</td><td>${row.loss}</td><td>${row.calibration}</td>
          <td>${whole.format(row.parameters)}</td><td>${row.ms}</td></tr>`)}</tbody>
      </table>
    </div>
    <p>One training run of each network; the interval says how far the accuracy could be off by the choice of the
      test images, not by the seed of the training. The chance is McNemar's exact test on the images that one of the
      two has right and the other wrong. From the artifacts' manifests, <a href="v1/compare">v1/compare</a>.</p>
    <p><a class="button" download="foldnorm-compare.csv" href=${`data:text/csv;charset=utf-8,${encodeURIComponent(
        asCsv(COLUMNS, rows.map((row) => row.csv)))}`}>Download CSV</a></p>
    <${Reaching} models=${found.models} reach=${reach} setState=${setState} />
  </section>`;
}

function Reaching({ models, reach, setState }) {
  const trained = models.filter((model) => model.history.length);
  if (!trained.length) return null;
  const said = share.format(reach);
  return html`<h3 id="reach">How soon does each reach an accuracy?</h3>
    <p><label>At least <input type="range" min="0.3" max="0.95" step="0.01" value=${reach} aria-valuetext=${said}
      onInput=${(event) => setState({ reach: event.target.value })} /> <output>${said}</output></label>${" "}
      of the test images right</p>
    <div class="wide" tabindex="0" role="region" aria-label="First epochs"><table aria-labelledby="reach"><thead><tr><th scope="col">network</th><th scope="col">first epoch</th>
      <th scope="col">of</th><th scope="col">best epoch, picked on the test set</th></tr></thead>
      <tbody>${trained.map((model) => html`<tr key=${idOf(model)}><th scope="row">${idOf(model)}</th>
        <td>${firstEpoch(model.history, reach) ?? "never"}</td><td>${model.history.length}</td>
        <td>${model.best_epoch ? `${model.best_epoch.epoch}, ${share.format(model.best_epoch.test_accuracy)}` : ""}</td>
      </tr>`)}</tbody></table></div>`;
}

const idOf = (model) => `${model.name}@${model.version}`;

function leastRight(models) {
  const measured = models.map((model) => model.test?.accuracy ?? Infinity);
  return measured.indexOf(Math.min(...measured));
}

function rowOf(model, pairs, baseline) {
  const id = idOf(model);
  const { test } = model;
  const pair = id === baseline ? null : pairOf(pairs, baseline, id);
  const gained = pair?.accuracy_difference ?? null;
  const paired = pair?.mcnemar ?? null;
  const graph = Object.entries(model.graphs).find(([variant]) => variant === "folded" || variant === "plain")[1];
  const latency = graph.latency.find((one) => one.optimization === "enable_all" && one.batch_size === 1);
  const [low, high] = test ? test.accuracy_interval_95 : [null, null];
  return {
    id,
    parameters: graph.parameters,
    accuracy: test ? `${share.format(test.accuracy)} (${share.format(low)} to ${share.format(high)})` : "not measured",
    difference: id === baseline ? "the baseline" : gained === null ? "unknown" : `${points.format(100 * gained)} points`,
    sign: gained > 0 ? "better" : gained < 0 ? "worse" : "",
    chance: paired ? inWords(paired.p_value) : id === baseline ? "" : "not on the same images",
    loss: test ? test.loss.toFixed(4) : "",
    calibration: test ? test.expected_calibration_error.toFixed(4) : "",
    ms: latency ? latency.median_ms.toFixed(2) : "",
    csv: [id, test?.accuracy, low, high, test?.images, gained === null ? null : 100 * gained,
      paired?.only_second_right, paired?.only_first_right, paired?.p_value, test?.loss,
      test?.expected_calibration_error, graph.parameters, graph.macs, graph.size_bytes, latency?.median_ms],
  };
}

function inWords(p) {
  if (p < 1e-12) return "below 1 in 10¹²";
  if (p < 0.001) return p.toExponential(1);
  return p.toFixed(3);
}
