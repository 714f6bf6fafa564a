// Pure numbers of the page: no document here, so that tests can ask them alone.

// The first epoch whose test accuracy reaches a share; null where none does.
export function firstEpoch(history, share) {
  const reached = history.find((record) => record.test_accuracy >= share);
  return reached ? reached.epoch : null;
}

// The pair of two networks, turned so that `first` is the one that is asked for first.
export function pairOf(pairs, first, second) {
  for (const pair of pairs) {
    if (pair.first === first && pair.second === second) return pair;
    if (pair.first === second && pair.second === first) {
      return {
        first,
        second,
        accuracy_difference: pair.accuracy_difference === null ? null : -pair.accuracy_difference,
        mcnemar: pair.mcnemar && {
          ...pair.mcnemar,
          only_first_right: pair.mcnemar.only_second_right,
          only_second_right: pair.mcnemar.only_first_right,
        },
      };
    }
  }
  return null;
}

export function asCsv(columns, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

// Samples of Prometheus' text format: [{ name, labels, value }].
export function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, inside, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) || [];
    if (!name) continue;
    const labels = {};
    for (const [, key, said] of (inside || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = said.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));
    }
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}

export function total(samples, name, wanted = {}) {
  return samples
    .filter((one) => one.name === name && Object.entries(wanted).every(([key, said]) => one.labels[key] === said))
    .reduce((sum, one) => sum + one.value, 0);
}

// What a counter grew by; null where it shrank, since the service was started again.
export function growth(before, after, name, wanted) {
  const grown = total(after, name, wanted) - total(before, name, wanted);
  return grown < 0 ? null : grown;
}

// The bound of the histogram's bucket that a share of what came between lies in; null where nothing came.
export function quantileBound(before, after, name, wanted, share) {
  const bounds = [...new Set(after.filter((one) => one.name === `${name}_bucket`).map((one) => one.labels.le))];
  bounds.sort((one, other) => Number(one.replace("+Inf", "Infinity")) - Number(other.replace("+Inf", "Infinity")));
  const counts = bounds.map((le) => growth(before, after, `${name}_bucket`, { ...wanted, le }));
  const all = counts.at(-1);
  if (!all) return null;
  return Number(bounds[counts.findIndex((count) => count >= share * all)].replace("+Inf", "Infinity"));
}
