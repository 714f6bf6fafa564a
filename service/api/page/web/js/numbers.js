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
