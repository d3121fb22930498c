// Ask a vaekit service from JavaScript: Node 20 or newer, or a browser; no package is needed.
//
//   node score.mjs URL MODEL ROWS.json        ROWS.json holds {"rows": [{"column": value, ...}, ...]}
//
// A key, if the service wants one, comes from VAEKIT_API_KEY. In a browser import { Service } from this file, and put a
// server of your own in between that adds the key: whatever a page knows, its visitors know.

const SAFE = new Set([429, 503]); // nothing was done; another try is safe

export class ServiceError extends Error {
  constructor(status, { kind = "", message = "no answer", field = null, row = null, request_id = "" } = {}) {
    super(`${message} (status ${status}${kind && `, ${kind}`}${request_id && `, request ${request_id}`})`);
    Object.assign(this, { name: "ServiceError", status, kind, field, row, requestId: request_id });
  }
}

export class Service {
  /** url: address of the service; timeout: seconds for all tries of a request together. */
  constructor(url, { key = null, timeout = 30, tries = 4 } = {}) {
    Object.assign(this, { url: url.replace(/\/$/, ""), key, timeout, tries });
  }

  /** Ask a query about rows. Returns { rows, requestId }. */
  async ask(model, query, rows, options = {}) {
    const path = `/v1/models/${encodeURIComponent(model)}/${encodeURIComponent(query)}`;
    const response = await this.#post(path, { rows, options });
    return { rows: (await response.json()).rows, requestId: response.headers.get("x-request-id") };
  }

  /** Say what came of an answer: { outcome }, { label } or { kpi }, and { row } if one is meant. */
  async feedback(requestId, said) {
    return (await this.#post("/v1/feedback", { request_id: requestId, ...said })).json();
  }

  async #post(path, body) {
    const until = Date.now() + 1000 * this.timeout;
    for (let tried = 1; ; tried++) {
      const left = (until - Date.now()) / 1000;
      const response = await this.#send(path, body, left).catch((error) => error);
      if (response instanceof Error && response.name === "TimeoutError") throw response;
      const failed = response instanceof Error;
      if (!failed && response.ok) return response;
      const asked = failed ? 0 : retryAfter(response);
      const pause = asked + Math.random() * 0.1 * 2 ** (tried - 1); // jitter keeps clients from coming back together
      const again = (failed || SAFE.has(response.status)) && tried < this.tries && Date.now() + 1000 * pause < until;
      if (!again) throw failed ? response : await problem(response);
      await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
    }
  }

  #send(path, body, seconds) {
    const headers = { "Content-Type": "application/json", "X-Request-Timeout": Math.max(seconds, 0.001).toFixed(3) };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    const signal = AbortSignal.timeout(Math.max(1000 * seconds, 1));
    return fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }
}

function retryAfter(response) {
  const value = response.headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(seconds, 0) : 0;
}

async function problem(response) {
  const told = await response.json().catch(() => ({}));
  return new ServiceError(response.status, told.error);
}

async function main([url, model, file]) {
  const { readFile } = await import("node:fs/promises");
  const { rows } = JSON.parse(await readFile(file, "utf8"));
  const service = new Service(url, { key: process.env.VAEKIT_API_KEY });
  const answer = await service.ask(model, "score", rows, { attribution: true });
  console.log(JSON.stringify(answer.rows));
  console.log(JSON.stringify(await service.feedback(answer.requestId, { row: 0, outcome: false })));
}

if (globalThis.process?.argv[1]?.endsWith("score.mjs")) {
  await main(process.argv.slice(2)).catch((error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  });
}
