/**
 * One connection as its user sees it, over as many sockets as it takes.
 *
 *     disconnected ──connect()──▶ connecting ──welcome──▶ connected
 *          ▲                          ▲  └── socket lost, full jitter ──┘
 *          └── disconnect(), close code from 3500 on, token refused
 *
 * It knows frames, requests and their replies, tokens and times; what the frames mean is its user's business.
 */

import { fullJitter } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { ParleyError } from "./errors.js";
import type { TokenSource } from "./token.js";
import { REPLIES, type ClientEvents, type ErrorBody, type ServerEvents, type Welcome } from "./wire.js";

/** What the SDK needs of a WebSocket: the browser's, Node's from version 22 on, or that of the package `ws`. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
/** Its constructor. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** Whether there is a connection. */
export type ConnectionState = "disconnected" | "connecting" | "connected";

/** A change of it. */
export interface StateChange {
  state: ConnectionState;
  previous: ConnectionState;
  /** Close code of the socket that ended; 1006 if it broke. */
  code?: number | undefined;
  /** Why. */
  reason?: string | undefined;
  /** Tries since the last connection. */
  attempt: number;
  /** When the next one begins. */
  retryInMs?: number | undefined;
  /** Why it won't be tried again. */
  error?: ParleyError | undefined;
}

/** A frame as it came or went; for those who show or count them. `authenticate` goes without its token. */
export interface Frame<Name extends keyof ServerEvents = keyof ServerEvents> {
  direction: "in" | "out";
  event: Name | (string & {});
  id?: string | undefined;
  data: unknown;
  /** Length of its JSON. */
  bytes: number;
}

/** Requests that have a reply. */
export type RequestName = keyof typeof REPLIES;
/** The reply of a request. */
export type ReplyOf<Name extends RequestName> = ServerEvents[(typeof REPLIES)[Name]];

/** Times, in milliseconds. */
export interface ConnectionTimes {
  /** The first cap of the wait between two tries; it doubles. */
  backoffBaseMs: number;
  /** The last cap. */
  backoffMaxMs: number;
  /** How long `getToken` may take. */
  tokenTimeoutMs: number;
  /** How long a socket may take to become a session. */
  connectTimeoutMs: number;
  /** After so long without a frame the server is asked for a sign of life. */
  pingIntervalMs: number;
  /** How long it may take to give one. */
  pongTimeoutMs: number;
  /** How long a reply may take; then the connection is taken for dead. */
  requestTimeoutMs: number;
}

/** The times if none are given. */
export const TIMES: ConnectionTimes = {
  backoffBaseMs: 500,
  backoffMaxMs: 30_000,
  tokenTimeoutMs: 30_000,
  connectTimeoutMs: 15_000,
  pingIntervalMs: 20_000,
  pongTimeoutMs: 10_000,
  requestTimeoutMs: 20_000,
};

/** What a connection tells. `frame` comes before anything that follows from it, in the order of the wire. */
export interface ConnectionEvents {
  state: StateChange;
  welcome: Welcome;
  received: Frame;
  frame: Frame;
  error: ParleyError;
}

interface Pending {
  event: RequestName;
  resolve: (data: never) => void;
  reject: (error: ParleyError) => void;
  timer: ReturnType<typeof setTimeout>;
}

/** Requests that wait for their replies at once; beyond it something is wrong with who asks. */
const PENDING_MAX = 1_000;
/** A token is replaced when so much of its life is left, but not later than a minute before its end. */
const REFRESH_SHARE = 0.2;
const REFRESH_BEFORE_MS = 60_000;
/** Tokens aren't replaced more often, whatever their ends say. */
const REFRESH_MIN_MS = 1_000;
/** Close codes from here on are for good, known or not. */
const FOR_GOOD = 3500;
const REFUSALS: Readonly<Record<number, string>> = {
  3500: "unauthenticated",
  3501: "protocol_violation",
  3504: "too_many_connections",
};
/** The longest time that a timer can hold. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface ConnectionOptions {
  url: string;
  tokens: TokenSource;
  WebSocket: WebSocketConstructor;
  times: ConnectionTimes;
  random: () => number;
}

export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions;
  #state: ConnectionState = "disconnected";
  #socket: WebSocketLike | undefined;
  #attempt = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #opening: ReturnType<typeof setTimeout> | undefined;
  #alive: ReturnType<typeof setTimeout> | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  /** When the token that the session lives by ends, by the server's clock. */
  #tokenEnds = Number.POSITIVE_INFINITY;
  #goAwayMs: number | undefined;
  #secondChance = false;
  #hadSecondChance = false;
  #nextId = 0;
  readonly #pending = new Map<string, Pending>();

  constructor(options: ConnectionOptions) {
    super();
    this.#options = options;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  connect(): void {
    if (this.#state !== "disconnected") return;
    this.#attempt = 0;
    this.#change("connecting", {});
    void this.#open();
  }

  disconnect(): void {
    this.#stop(1000, "disconnected by the client");
  }

  /** Connects now instead of waiting: the network is back, or somebody doesn't want to wait. */
  hurry(): void {
    if (this.#retry === undefined) return this.probe();
    clearTimeout(this.#retry);
    this.#retry = undefined;
    void this.#open();
  }

  /** Asks for a sign of life now: something happened that may have broken the connection silently. */
  probe(): void {
    if (this.#socket && this.#state === "connected") this.#askForLife();
  }

  /** Everything that is owed was asked for: from here on a loss begins with short waits again. */
  settled(): void {
    this.#attempt = 0;
  }

  /** The connection works, but what was asked on it failed: another try, later. */
  restart(reason: string): void {
    this.#lost(1006, reason);
  }

  /** The session is somebody else's than was meant: neither it nor its token is of use. */
  refuse(error: ParleyError): void {
    this.#options.tokens.drop(this.#options.tokens.cached ?? "");
    this.#stop(1000, error.message, error);
  }

  request<Name extends RequestName>(event: Name, data: ClientEvents[Name]): Promise<ReplyOf<Name>> {
    return new Promise((resolve, reject) => {
      // One that isn't open yet, or isn't any more, would drop it, and the missing reply would end the connection.
      if (this.#socket?.readyState !== 1) {
        return reject(new ParleyError("not_connected", "there is no connection", { retryable: true }));
      }
      if (this.#pending.size >= PENDING_MAX) {
        return reject(new ParleyError("busy", "too many requests wait for their replies", { retryable: true }));
      }
      const id = String(++this.#nextId);
      const timer = setTimeout(() => {
        this.#settle(id)?.reject(new ParleyError("timeout", `no reply to ${event}`, { retryable: true }));
        this.#lost(1006, `no reply to ${event}`);
      }, this.#options.times.requestTimeoutMs);
      this.#pending.set(id, { event, resolve, reject, timer });
      this.#send(event, data, id);
    });
  }

  /** Sends what has no reply, if there is a connection; else it is dropped. */
  tell(event: "typing", data: ClientEvents["typing"]): void {
    if (this.#state === "connected") this.#send(event, data);
  }

  #change(state: ConnectionState, more: Partial<StateChange>): void {
    const previous = this.#state;
    this.#state = state;
    this.emit("state", { state, previous, attempt: this.#attempt, ...more });
  }

  async #open(): Promise<void> {
    const { tokens, WebSocket, url, times } = this.#options;
    const cached = tokens.cached;
    let token: string;
    try {
      token = await tokens.get();
    } catch (error) {
      if (this.#state !== "connecting") return;
      const failure = ParleyError.of(error, "token", true);
      this.emit("error", failure);
      return failure.retryable ? this.#later(1006, "no token") : this.#stop(3500, "no token", failure);
    }
    if (this.#state !== "connecting" || this.#socket) return;
    let socket: WebSocketLike;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      return this.#stop(3501, "the URL isn't taken", ParleyError.of(error, "network", false));
    }
    this.#socket = socket;
    const ours = () => this.#socket === socket;
    this.#opening = setTimeout(() => ours() && this.#lost(1006, "no session in time"), times.connectTimeoutMs);
    socket.onopen = () => {
      if (!ours()) return;
      this.#authenticate(token).catch((error: ParleyError) => {
        if (error.code !== "unauthenticated") return;
        tokens.drop(token);
        // A kept token may be too old by the server's clock, or signed with a former key; a fresh one may not.
        this.#secondChance = token === cached && !this.#hadSecondChance;
      });
    };
    socket.onmessage = ({ data }) => {
      if (ours() && typeof data === "string") this.#receive(data);
    };
    // The close that follows says as much as there is to know.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      if (ours()) this.#closed(code, reason);
    };
  }

  async #authenticate(token: string): Promise<void> {
    const { expires_at } = await this.request("authenticate", { token });
    this.#tokenEnds = Date.parse(expires_at);
    this.#planRenewal();
  }

  #planRenewal(): void {
    const left = this.#tokenEnds - this.#options.tokens.now;
    const before = Math.min(left * REFRESH_SHARE, REFRESH_BEFORE_MS);
    clearTimeout(this.#refresh);
    this.#refresh = setTimeout(() => void this.#renew(), Math.min(Math.max(left - before, REFRESH_MIN_MS), TIMER_MAX_MS));
  }

  /** A fresh token on the living connection. If there is none, the server ends the connection, and the next one asks again. */
  async #renew(): Promise<void> {
    const socket = this.#socket;
    try {
      const token = await this.#options.tokens.fresh();
      if (socket && this.#socket === socket) await this.#authenticate(token);
    } catch (error) {
      const failure = ParleyError.of(error, "token", true);
      this.emit("error", failure);
      if (socket && this.#socket === socket && failure.retryable) {
        const { backoffBaseMs, backoffMaxMs } = this.#options.times;
        this.#refresh = setTimeout(() => void this.#renew(), Math.min(backoffBaseMs * 4, backoffMaxMs));
      }
    }
  }

  #send(event: keyof ClientEvents, data: unknown, id?: string): void {
    const socket = this.#socket;
    if (socket?.readyState !== 1) return; // its close is on the way
    const text = JSON.stringify(id === undefined ? { event, data } : { event, id, data });
    socket.send(text);
    const shown = event === "authenticate" ? {} : data;
    this.emit("frame", { direction: "out", event, id, data: shown, bytes: byteLength(text) });
  }

  #receive(text: string): void {
    this.#heard();
    let frame: { event?: unknown; id?: unknown; data?: unknown };
    try {
      frame = JSON.parse(text);
    } catch {
      return; // both sides ignore what they don't know
    }
    if (typeof frame !== "object" || frame === null || typeof frame.event !== "string") return;
    const id = typeof frame.id === "string" ? frame.id : undefined;
    const received: Frame = { direction: "in", event: frame.event, id, data: frame.data ?? {}, bytes: byteLength(text) };
    this.emit("frame", received);
    if (received.event === "welcome") this.#welcomed(received.data as Welcome);
    else if (received.event === "go_away") {
      this.#goAwayMs = (received.data as ServerEvents["go_away"]).reconnect_after_ms;
    } else this.emit("received", received);
    if (id !== undefined) this.#reply(id, received);
  }

  #reply(id: string, frame: Frame): void {
    const pending = this.#settle(id);
    if (!pending) return;
    if (frame.event === REPLIES[pending.event]) pending.resolve(frame.data as never);
    else if (frame.event === "error") pending.reject(ParleyError.ofWire(frame.data as ErrorBody));
    else pending.reject(new ParleyError("internal", `${frame.event} is no reply to ${pending.event}`));
  }

  #settle(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.#pending.delete(id);
    return pending;
  }

  #welcomed(welcome: Welcome): void {
    clearTimeout(this.#opening);
    this.#hadSecondChance = false;
    // The first plan was made by this machine's clock, which may be wrong.
    this.#options.tokens.heard(welcome.server_time);
    this.#planRenewal();
    this.#change("connected", {});
    this.emit("welcome", welcome);
  }

  #heard(): void {
    clearTimeout(this.#alive);
    this.#alive = setTimeout(() => this.#askForLife(), this.#options.times.pingIntervalMs);
  }

  #askForLife(): void {
    clearTimeout(this.#alive);
    this.#alive = setTimeout(() => this.#lost(1006, "no sign of life"), this.#options.times.pongTimeoutMs);
    this.#send("ping", {});
  }

  #closed(code: number, reason: string): void {
    if (code === 3500 && this.#secondChance) {
      this.#secondChance = false;
      this.#hadSecondChance = true;
      return this.#lost(code, reason);
    }
    if (code === 3005) this.#options.tokens.drop(this.#options.tokens.cached ?? "");
    if (code >= FOR_GOOD) {
      this.#stop(code, reason, new ParleyError(REFUSALS[code] ?? "closed", reason || `closed with ${code}`));
    } else this.#lost(code, reason);
  }

  #lost(code: number, reason: string): void {
    if (this.#state === "disconnected" || !this.#socket) return;
    this.#drop(code, reason);
    this.#later(code, reason);
  }

  #later(code: number, reason: string): void {
    const { times, random } = this.#options;
    // What the server asked for is spread already; jitter on top only helps those who come back a second time.
    const asked = this.#goAwayMs;
    this.#goAwayMs = undefined;
    const retryInMs = asked ?? fullJitter(this.#attempt, times.backoffBaseMs, times.backoffMaxMs, random);
    this.#attempt += 1;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      void this.#open();
    }, retryInMs);
    this.#change("connecting", { code, reason, retryInMs });
  }

  #stop(code: number, reason: string, error?: ParleyError): void {
    if (this.#state === "disconnected") return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#goAwayMs = undefined;
    this.#drop(code, reason);
    this.#change("disconnected", { code, reason, error });
    if (error) this.emit("error", error);
  }

  /** Lets go of the socket at once: one that is half open would take its time to close. */
  #drop(code: number, reason: string): void {
    const socket = this.#socket as (WebSocketLike & { terminate?: () => void }) | undefined;
    this.#socket = undefined;
    for (const timer of [this.#opening, this.#alive, this.#refresh]) clearTimeout(timer);
    const error = new ParleyError("connection_lost", reason || `the connection ended (${code})`, { retryable: true });
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(error);
    if (!socket) return;
    socket.onmessage = null;
    // Closing what isn't open yet is an error event of its own in some implementations.
    socket.onerror = () => {};
    if (code !== 1000 && socket.terminate) socket.terminate();
    else socket.close(1000);
  }
}

/** What a frame has around its data, at most. */
export const FRAME_OVERHEAD_BYTES = 128;

const encoder = new TextEncoder();
/** Length in UTF-8. */
export function byteLength(text: string): number {
  return encoder.encode(text).length;
}
