// Operate: the service now, from two readings of its metrics.
import { getJson, getText } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { growth, parseMetrics, quantileBound, total } from "../numbers.js";

const EVERY_MS = 2_000;
const STAGES = { stage: "total" };
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export default function Operate() {
  const [readings, setReadings] = useState([]);
  const [failure, setFailure] = useState(null);
  const [draining, setDraining] = useState(false);
  const [paused, setPaused] = useState(false);
  const [tuning, setTuning] = useState(null);

  useEffect(() => {
    getJson("v1/tuning").then(setTuning, () => {});
  }, []);
  useEffect(() => {
    if (paused) return;
    const stop = new AbortController();
    const read = async () => {
      if (document.hidden) return;
      try {
        const samples = parseMetrics(await getText("metrics", { signal: stop.signal }));
        setReadings((all) => [...all.slice(-1), { at: performance.now(), samples }]);
        setDraining((await fetch("health/ready", { signal: stop.signal })).status === 503);
        setFailure(null);
      } catch (error) {
        if (error.name !== "AbortError") setFailure(error);
      }
    };
    read();
    const timer = setInterval(read, EVERY_MS);
    return () => (clearInterval(timer), stop.abort());
  }, [paused]);

  const [before, after] = readings;
  return html`<section aria-labelledby="operate">
    <h2 id="operate">The service now</h2>
    <p role="status">${inWords(failure, draining, paused, before, after)}</p>
    <p><button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button>${" "}
      read every 2 seconds from <a href="metrics">metrics</a>, summed over the workers</p>
    ${after && html`<${Figures} rows=${figures(before, after)} />`}
    ${tuning && html`<${Tuning} tuning=${tuning} />`}
  </section>`;
}

function inWords(failure, draining, paused, before, after) {
  if (failure) return `Unreachable: ${failure.message}`;
  if (paused) return "Paused.";
  if (!after) return before ? "One reading so far, the next in 2 seconds." : "Reading …";
  if (draining) return "Not ready: the service is draining or has failed its proof.";
  return growth(before.samples, after.samples, "foldnorm_images_total") ? "Working." : "Idle: no image in the last 2 seconds.";
}

export function figures(before, after) {
  const seconds = (after.at - before.at) / 1000;
  const grown = (name, wanted) => growth(before.samples, after.samples, name, wanted);
  const rate = (name) => {
    const count = grown(name);
    return count === null ? "started again" : one.format(count / seconds);
  };
  const bound = (share) => {
    const found = quantileBound(before.samples, after.samples, "foldnorm_stage_seconds", STAGES, share);
    if (found === null) return "nothing came";
    return Number.isFinite(found) ? `at most ${one.format(1000 * found)} ms` : "above 10 s";
  };
  const now = (name) => whole.format(total(after.samples, name));
  const reasons = [...new Set(after.samples.filter((s) => s.name === "foldnorm_rejections_total").map((s) => s.labels.reason))];
  const refused = reasons.map((reason) => [reason, grown("foldnorm_rejections_total", { reason })]).filter(([, count]) => count);
  const batches = grown("foldnorm_batches_total");
  return [
    ["requests a second", rate("foldnorm_requests_total")],
    ["images a second", rate("foldnorm_images_total")],
    ["half of the requests took", bound(0.5)],
    ["95 of 100 took", bound(0.95)],
    ["99 of 100 took", bound(0.99)],
    ["images in a batch, on average", batches ? one.format(grown("foldnorm_images_total") / batches) : "no batch ran"],
    ["refused in the last 2 seconds", refused.length ? refused.map(([reason, count]) => `${reason} ${count}`).join(", ") : "none"],
    ["images that wait", now("foldnorm_queue_images")],
    ["requests in progress", now("foldnorm_work_in_progress")],
    ["workers", now("foldnorm_workers")],
    ["memory of the workers", `${whole.format(total(after.samples, "foldnorm_resident_bytes") / 2 ** 20)} MiB`],
    ["images on which the shadow differed, since the start", now("foldnorm_disagreements_total")],
  ];
}

function Figures({ rows }) {
  return html`<div class="wide" tabindex="0" role="region" aria-label="Figures"><table aria-label="The service now"><thead><tr><th scope="col">measured</th><th scope="col">now</th></tr></thead>
    <tbody>${rows.map(([name, value]) => html`<tr key=${name}><th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table></div>`;
}

function Tuning({ tuning }) {
  return html`<h3 id="tuning">What was measured at the start, and chosen</h3>
    <p>${tuning.workers === 1 ? "One worker" : `${tuning.workers} workers`} on ${
    tuning.cpus === 1 ? "one processor" : `${tuning.cpus} processors`}, ${tuning.provider}: ${tuning.provider_reason}.</p>
    <div class="wide" tabindex="0" role="region" aria-labelledby="tuning"><table><thead><tr><th scope="col">network</th>
      <th scope="col">ms of a call</th><th scope="col">ms of an image more</th><th scope="col">images at once</th>
      <th scope="col">in a batch, at most</th></tr></thead>
      <tbody>${tuning.models.map((model) => html`<tr key=${`${model.name} ${model.version}`}><th scope="row">${model.name} ${model.version}</th>
        <td>${model.call_ms.toFixed(3)}</td><td>${model.image_ms.toFixed(3)}</td><td>${model.part_images}</td>
        <td>${model.gather_images}</td></tr>`)}</tbody></table></div>`;
}
