// The one place that asks the service. An answer that is none becomes an ApiError in its own words.

export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `The service answered ${status}.`);
    this.status = status;
    this.title = problem.title || "No answer";
    this.requestId = problem.request_id || null;
    this.retryAfter = retryAfter;
  }
}

export const getJson = async (path, options = {}) => (await ask(path, options)).json();

export const getText = async (path, options = {}) => (await ask(path, options)).text();

export const post = async (path, body, type, options = {}) =>
  (await ask(path, { ...options, method: "POST", body, headers: { "Content-Type": type } })).json();

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { title: "Unreachable", detail: "The service cannot be reached." }, null);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, problem, answer.headers.get("Retry-After"));
}
