/** Where tokens come from, and how long one is used. */

import { ParleyError } from "./errors.js";

/** Gets a token from whoever signs them: your own server, as a rule. */
export type GetToken = () => string | Promise<string>;

/** So long before its end a token isn't used for anything new. */
const MARGIN_MS = 10_000;

/** When a JWT ends, as far as it says; it is the server who verifies it. */
export function expiryOf(token: string): number | undefined {
  try {
    const payload = token.split(".")[1] ?? "";
    const claims: unknown = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    const exp = (claims as { exp?: unknown }).exp;
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** Asks for a token once for all who need one, and again before it ends. */
export class TokenSource {
  readonly #getToken: GetToken;
  readonly #waitMs: number;
  /** How far the server's clock is ahead of this one. */
  #aheadMs = 0;
  #token: string | undefined;
  #asking: Promise<string> | undefined;

  constructor(getToken: GetToken, waitMs: number) {
    this.#getToken = getToken;
    this.#waitMs = waitMs;
  }

  /** What the server's clock shows now, as far as it was heard: by that one a token ends. */
  get now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** The server told its time. */
  heard(serverTime: string): void {
    const ahead = Date.parse(serverTime) - Date.now();
    if (!Number.isNaN(ahead)) this.#aheadMs = ahead;
  }

  /** What would be used again. */
  get cached(): string | undefined {
    return this.#token;
  }

  /** A token that lives yet. */
  get(): Promise<string> {
    const token = this.#token;
    const ends = token === undefined ? 0 : (expiryOf(token) ?? 0);
    if (token !== undefined && ends - MARGIN_MS > this.now) return Promise.resolve(token);
    return this.fresh();
  }

  /** A new one, whatever there is. */
  fresh(): Promise<string> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  /** The server didn't take it. */
  drop(token: string): void {
    if (this.#token === token) this.#token = undefined;
  }

  async #ask(): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new ParleyError("token", `getToken gave nothing in ${this.#waitMs} ms`, { retryable: true });
      timer = setTimeout(() => reject(error), this.#waitMs);
    });
    try {
      // One that never settles would hold up everything for good.
      this.#token = await Promise.race([this.#getToken(), late]);
      return this.#token;
    } catch (error) {
      throw ParleyError.of(error, "token", true);
    } finally {
      clearTimeout(timer);
    }
  }
}
