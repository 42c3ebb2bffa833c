// The gateway's HTTP surface, as far as the console uses it.

/** The gateway said no, or could not be reached: `message` is what a person should read. */
export class Refusal extends Error {
  constructor(message, status = 0) {
    super(message);
    this.name = "Refusal";
    this.status = status;
  }
}

const KEY = "key";

/** For this tab only: the gateway's key, where it asks for one. */
export function useKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** `options` of fetch, with the key. */
export function keyed(options = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } } : options;
}

export const UNREACHABLE = "The gateway cannot be reached. Is it still running?";

/** Like fetch with the key, and with "keyneeded" on the window where that is not good; but every answer that is not 2xx, and no answer at all, is a Refusal. An abort stays an AbortError. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, keyed(options));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(UNREACHABLE);
  }
  if (response.status === 401) dispatchEvent(new CustomEvent("keyneeded", { detail: sessionStorage.getItem(KEY) !== null }));
  if (!response.ok) throw new Refusal(await reasonOf(response), response.status);
  return response;
}

async function reasonOf(response) {
  try {
    const { error, detail } = await response.json();
    const told = error?.message ?? detail;
    if (typeof told === "string" && told) return told;
  } catch {
    // Not JSON: the status has to do.
  }
  return `The gateway answered ${response.status} ${response.statusText}`.trim() + ".";
}

/** Routes as {id, kind, targets, asleep}: `asleep` is why none of its targets can serve, or null. */
export async function routes() {
  const { data } = await (await ask("/v1/models")).json();
  return data.map(({ id, trunkline = {} }) => ({
    id,
    kind: trunkline.kind,
    targets: trunkline.targets ?? [],
    asleep: trunkline.asleep || null,
  }));
}

/** {ready, warm: {target: "warm" | "warming" | "failed: why"}}; a 503 carries the same body. */
export async function readiness() {
  let response;
  try {
    response = await fetch("/readyz", { cache: "no-store" });
  } catch {
    throw new Refusal(UNREACHABLE);
  }
  try {
    const { ready, warm } = await response.json();
    return { ready: Boolean(ready), warm: warm ?? {} };
  } catch {
    throw new Refusal(`/readyz answered ${response.status} without JSON.`, response.status);
  }
}
