// Calls of the API, and what its errors mean in plain words. The key is in a cookie that no script can read.

const CSRF_HEADER = "X-CSRF-Token";
const NEVER_TOLD = "The service does not answer. It may be starting anew; nothing that you typed is lost.";

/** What went wrong, in words for a person. `status` is 0 when there was no answer; `details` are further sentences. */
export class ApiError extends Error {
  constructor(status, message, details = []) {
    super(message);
    this.status = status;
    this.details = details;
  }

  /** Whether asking again may help without changing anything. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

let csrfToken = null;
let onSignedOut = () => {};

/** `listener` is told when the session has ended. */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/** One answer as JSON, null for an empty one. Throws ApiError. */
export async function ask(method, path, body, headers = {}) {
  const sent = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (csrfToken !== null && method !== "GET") sent.headers[CSRF_HEADER] = csrfToken;
  if (body !== undefined) {
    sent.headers["Content-Type"] = "application/json";
    sent.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, document.baseURI), sent);
    text = await answer.text();
  } catch {
    throw new ApiError(0, NEVER_TOLD);
  }
  const found = parsed(text);
  // An unhealthy service says so with 503, and with all that there is to know.
  if (answer.ok || (path === "health" && found?.status === "unhealthy")) return found;
  if (answer.status === 401 && path !== "v1/session") onSignedOut();
  throw new ApiError(answer.status, inWords(answer, found), detailsOf(found));
}

export const get = (path) => ask("GET", path);
export const post = (path, body, headers) => ask("POST", path, body, headers);

/** Who is signed in, null when nobody is. Throws ApiError. */
export async function session() {
  try {
    return known(await get("v1/session"));
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

/** The session that `key` opens; in development an empty one opens that of the well-known key. Throws ApiError. */
export async function signIn(key) {
  return known(await ask("POST", "v1/session", undefined, key ? { "X-API-Key": key } : {}));
}

export async function signOut() {
  await ask("DELETE", "v1/session");
  csrfToken = null;
}

function known(found) {
  csrfToken = found.csrf_token;
  return found;
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

function inWords(answer, found) {
  const said = found?.detail ?? found?.message ?? answer.statusText;
  const retry = answer.headers.get("Retry-After");
  switch (answer.status) {
    case 401:
      return `You are not signed in: ${said}.`;
    case 403:
      return `Your key does not allow this: ${said}.`;
    case 409:
      return `Not now: ${said}.`;
    case 413:
      return `That is too large: ${said}.`;
    case 422:
      return `The service cannot take this: ${said}.`;
    case 429:
    case 503:
      return `The service asks for patience${retry ? `, try again in ${retry} s` : ""}: ${said}.`;
    default:
      return answer.status >= 500 ? `The service failed: ${said}.` : `${said}.`;
  }
}

function detailsOf(found) {
  if (!found) return [];
  const faults = (found.errors ?? []).map((each) => `${each.field} ${each.message}`);
  const rejections = (found.rejections ?? []).map((each) => `${each.arm}: ${each.reason}`);
  const omitted = found.errors_omitted ? [`and ${found.errors_omitted} more`] : [];
  return [...faults, ...omitted, ...(found.reasons ?? []), ...rejections];
}
