/** Pictures, video and audio: straight to and from the object store, by pre-signed URLs. */

import { ParleyError } from "./errors.js";
import type { Rest } from "./rest.js";
import type { Download, Upload, UploadBody } from "./wire.js";

/** How far an upload is. */
export interface Progress {
  sent: number;
  total: number;
}

/** What to upload. */
export interface UploadOptions {
  group_id: string;
  data: Blob;
  /** The blob's own if not given. */
  content_type?: string | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Download URLs that are remembered. */
const URLS_MAX = 500;
/** So long before its end a URL isn't given out any more. */
const MARGIN_MS = 60_000;
/** An upload that doesn't move for so long is given up: a connection may be dead without anybody being told. */
const SILENCE_MS = 30_000;
/** What has gone out may lie in buffers on the way for longer. */
const ANSWER_WAIT_MS = 120_000;
/** What may pass: the object store waited for bytes in vain, wants fewer at once, or the URL has ended (the next one is new). */
const PASSING = [400, 403, 408, 409, 429];

/** Uploads and downloads. */
export class Media {
  readonly #rest: Rest;
  readonly #fetch: typeof fetch;
  readonly #urls = new Map<string, Promise<Download>>();

  /** @internal */
  constructor(rest: Rest, fetchWith: typeof fetch) {
    this.#rest = rest;
    this.#fetch = fetchWith;
  }

  /** Uploads; the answer's `media_url` goes into a message. */
  async upload(options: UploadOptions): Promise<Upload> {
    const { group_id, data, onProgress, signal } = options;
    const content_type = options.content_type ?? data.type;
    onProgress?.({ sent: 0, total: data.size });
    const upload = await this.#rest.createUpload({
      group_id,
      content_type,
      content_length: data.size,
      sha256: await sha256(data),
    });
    if (signal?.aborted) throw aborted();
    const ending = new AbortController();
    const giveUp = () => ending.abort(aborted());
    const stalled = () => ending.abort(new ParleyError("network", "the upload stands still", { retryable: true }));
    let timer = setTimeout(stalled, SILENCE_MS);
    const moved = (progress: Progress) => {
      clearTimeout(timer);
      if (ending.signal.aborted) return;
      timer = setTimeout(stalled, progress.sent < progress.total ? SILENCE_MS : ANSWER_WAIT_MS);
      onProgress?.(progress);
    };
    signal?.addEventListener("abort", giveUp);
    const put = typeof XMLHttpRequest === "function" ? putByXhr : this.#putByFetch;
    try {
      await put(upload.upload, data, moved, ending.signal);
    } finally {
      // What the blob still gives after an early refusal moves nothing any more.
      ending.abort();
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
    }
    return upload;
  }

  /** A URL that shows it, good for at least a minute. */
  async url(mediaId: string): Promise<string> {
    return (await this.download(mediaId)).url;
  }

  /** The same with type and length. */
  async download(mediaId: string): Promise<Download> {
    const known = await this.#urls.get(mediaId)?.catch(() => undefined);
    if (known && Date.parse(known.expires_at) - MARGIN_MS > Date.now()) return known;
    const asked = this.#rest.download(mediaId);
    this.#urls.set(mediaId, asked);
    asked.catch(() => this.#urls.get(mediaId) === asked && this.#urls.delete(mediaId));
    const [oldest] = this.#urls.keys();
    if (this.#urls.size > URLS_MAX && oldest !== undefined) this.#urls.delete(oldest);
    return asked;
  }

  /** Counts what was taken from the blob: as near as `fetch` lets us. */
  #putByFetch = async (to: UploadBody, data: Blob, onProgress: (progress: Progress) => void, signal: AbortSignal) => {
    let sent = 0;
    const counted = data.stream().pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          sent += chunk.byteLength;
          onProgress({ sent, total: data.size });
          controller.enqueue(chunk);
        },
      }),
    );
    // The signature binds the length, so the body may not go out in chunks.
    const headers = { ...to.headers, "Content-Length": String(data.size) };
    const init = { method: to.method, headers, body: counted, duplex: "half", signal };
    let response: Response;
    try {
      response = await this.#fetch(to.url, init as RequestInit);
    } catch (error) {
      throw signal.aborted ? signal.reason : ParleyError.of(error, "network", true);
    }
    check(response.status);
  };
}

/** `fetch` tells browsers nothing of an upload's progress. */
function putByXhr(
  to: UploadBody,
  data: Blob,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(to.method, to.url);
    for (const [name, value] of Object.entries(to.headers)) {
      // Browsers set these themselves, to the same.
      if (!/^(content-length|host)$/i.test(name)) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = ({ loaded }) => onProgress({ sent: loaded, total: data.size });
    request.onload = () => {
      try {
        check(request.status);
        resolve();
      } catch (error) {
        reject(error);
      }
    };
    request.onerror = () => reject(new ParleyError("network", "the upload broke off", { retryable: true }));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(data);
  });
}

function check(status: number): void {
  // 412: it is there already, from an attempt whose answer was lost.
  if ((status >= 200 && status < 300) || status === 412) return;
  const retryable = status >= 500 || PASSING.includes(status);
  throw new ParleyError("network", `the object store answered ${status}`, { retryable, status });
}

const aborted = () => new ParleyError("aborted", "the upload was given up");

/** In lower-case hex. */
export async function sha256(data: Blob): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new ParleyError("insecure_context", "checksums need crypto.subtle: serve the page by https, or from localhost");
  }
  const bytes = await data.arrayBuffer().catch((cause: unknown) => {
    throw new ParleyError("unreadable", "the file can't be read: it was changed, moved or is too large", { cause });
  });
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
