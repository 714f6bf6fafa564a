// What a view shows stands in the address: #/try?models=a,b
export function readAddress(hash) {
  const [, view = "", query = ""] = /^#\/([a-z]*)\??(.*)$/.exec(hash) || [];
  return { view, state: Object.fromEntries(new URLSearchParams(query)) };
}

export function writeAddress(view, state) {
  const kept = Object.entries(state).filter(([, value]) => value !== null && value !== "");
  const query = new URLSearchParams(kept).toString();
  history.replaceState(null, "", `#/${view}${query ? `?${query}` : ""}`);
}
