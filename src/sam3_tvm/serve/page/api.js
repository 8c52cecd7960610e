// Requests to the server that this page came from.

const TOKEN = "sam3-tvm-token";

/** What the server says is wrong: its problem document's line. */
export class ApiError extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Set by the page: asks for a token, and resolves when there is one. */
export const asking = { token: async (_again) => {} };

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/**
 * A request; the response if its status is a success.
 *
 * @param {string} path
 * @param {{method?: string, json?: object, body?: BodyInit, signal?: AbortSignal, type?: string}} options
 * @returns {Promise<Response>}
 * @throws {ApiError} what the server says, or that it cannot be reached
 */
export async function request(path, { method, json, body, signal, type } = {}) {
  for (;;) {
    const headers = {};
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    else if (type) headers["Content-Type"] = type;
    const content = json !== undefined ? JSON.stringify(json) : body;
    let response;
    try {
      response = await fetch(path, { method: method ?? (content === undefined ? "GET" : "POST"), headers, body: content, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "the server cannot be reached: is it running?");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await asking.token(Boolean(token));
      continue;
    }
    throw await problemOf(response);
  }
}

async function problemOf(response) {
  let detail = `the server answered ${response.status}`;
  try {
    const problem = await response.json();
    if (problem.detail) detail = problem.detail;
  } catch {
    // No problem document: a proxy's answer, say.
  }
  return new ApiError(response.status, detail, Number(response.headers.get("Retry-After")) || null);
}

export async function getJson(path, options) {
  return (await request(path, options)).json();
}

/** Lines of JSON as they come. */
export async function* jsonLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
    }
    if (rest.trim()) yield JSON.parse(rest);
  } finally {
    reader.cancel().catch(() => {});
  }
}
