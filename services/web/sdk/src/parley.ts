/** The client: what a program holds in its hand. */

import { Connection, TIMES, type ConnectionState, type ConnectionTimes, type Frame, type StateChange, type WebSocketConstructor } from "./connection.js";
import { Core, type CoreEvents, type Stats } from "./core.js";
import { Emitter } from "./emitter.js";
import { ParleyError } from "./errors.js";
import type { Group } from "./group.js";
import { uuidv7 } from "./id.js";
import { IndexedDbStore } from "./indexeddb.js";
import { Media } from "./media.js";
import type { Outbox } from "./outbox.js";
import { Profiles } from "./profiles.js";
import { Rest } from "./rest.js";
import { MemoryStore, type Store } from "./store.js";
import { TokenSource, type GetToken } from "./token.js";
import type { CreateGroup } from "./wire.js";

/** How a client is made. */
export interface ParleyOptions {
  /** Gets a token: at the first connection, and again before each one ends. It has `times.tokenTimeoutMs` to do so. */
  getToken: GetToken;
  /**
   * Whose data this is. With it a browser keeps the outbox and the newest events over reloads (in IndexedDB), and shows
   * them before there is a connection; without it they live as long as the page.
   */
  user?: string;
  /** Where they are kept, if not there. */
  store?: Store;
  /** The constructor, where there is none built in (Node before 22: that of the package `ws`). */
  WebSocket?: WebSocketConstructor;
  /** Instead of the built-in one. */
  fetch?: typeof fetch;
  /** Events of each group that are kept on this device, 200 if not given. */
  storedPerGroup?: number;
  /** Events of the past that a device gets of a group that it sees for the first time, 0 if not given. */
  initialReplay?: number;
  /** At most so many events of the past are replayed at once; what is left out is told by `reset`. All, if not given. */
  replayLimit?: number;
  /** Other times than the usual, in milliseconds. */
  times?: Partial<ConnectionTimes>;
  /** Instead of `Math.random`, for the waits between tries. */
  random?: () => number;
}

/** What a client tells. The groups tell the same of themselves. */
export interface ParleyEvents extends CoreEvents {
  /** A socket came or went. */
  state: StateChange;
  /** Every frame, for those who show or count them. */
  frame: Frame;
}

/**
 * A client of one user.
 *
 * ```ts
 * const parley = new Parley("https://chat.example.com", { getToken, user: "ann" });
 * parley.on("entry", ({ group, entry }) => show(group, entry));
 * await parley.connect();
 * await parley.group(id).send({ text: "Shall we?" });
 * ```
 */
export class Parley extends Emitter<ParleyEvents> {
  readonly #connection: Connection;
  readonly #core: Core;
  readonly #store: Store;
  readonly #rest: Rest;
  #loaded: Promise<void> | undefined;
  /** How often it was told to disconnect. */
  #ends = 0;
  #watching: AbortController | undefined;
  /** Uploads and downloads. */
  readonly media: Media;
  /** Names and pictures of users. */
  readonly profiles: Profiles;

  constructor(url: string, options: ParleyOptions) {
    super();
    const base = new URL(url.endsWith("/") ? url : `${url}/`);
    const WebSocket = options.WebSocket ?? (globalThis.WebSocket as unknown as WebSocketConstructor | undefined);
    if (!WebSocket) throw new TypeError("there is no WebSocket here: give one as an option (from the package ws)");
    const fetchWith = options.fetch ?? globalThis.fetch.bind(globalThis);
    const times = { ...TIMES, ...options.times };
    const tokens = new TokenSource(options.getToken, times.tokenTimeoutMs);
    const random = options.random ?? Math.random;
    const socketUrl = new URL("v1/ws?replay=none", base);
    socketUrl.protocol = base.protocol === "https:" || base.protocol === "wss:" ? "wss:" : "ws:";
    if (base.protocol.startsWith("ws")) base.protocol = base.protocol === "wss:" ? "https:" : "http:";
    const keep = options.user !== undefined && typeof indexedDB !== "undefined";
    this.#store = options.store ?? (keep ? new IndexedDbStore(`parley:${base.host}:${options.user}`) : new MemoryStore());
    this.#connection = new Connection({
      url: socketUrl.href,
      tokens,
      WebSocket,
      times,
      random,
    });
    this.#rest = new Rest({ url: base.href, tokens, fetch: fetchWith });
    this.media = new Media(this.#rest, fetchWith);
    this.profiles = new Profiles(this.#rest);
    this.#core = new Core({
      user: options.user,
      store: this.#store,
      connection: this.#connection,
      rest: this.#rest,
      media: this.media,
      random,
      storedPerGroup: Math.max(1, options.storedPerGroup ?? 200),
      initialReplay: options.initialReplay ?? 0,
      replayLimit: options.replayLimit,
      emit: (name, value) => this.emit(name, value as ParleyEvents[typeof name]),
    });
    this.#connection.on("state", (change) => this.emit("state", change));
    this.#connection.on("frame", (frame) => this.emit("frame", frame));
    this.#connection.on("error", (error) => this.emit("error", error));
  }

  /** Whether there is a connection. */
  get state(): ConnectionState {
    return this.#connection.state;
  }
  /** Whose client it is; empty until known. */
  get user(): string {
    return this.#core.user;
  }
  /** What isn't in the log yet. */
  get outbox(): Outbox {
    return this.#core.outbox;
  }
  /** What happened on the way. */
  get stats(): Readonly<Stats> {
    return this.#core.stats;
  }
  /** The user's groups, the one with the newest event first. */
  get groups(): Group[] {
    const at = (group: Group) => group.info?.last_message?.created_at ?? group.info?.updated_at ?? "";
    return [...this.#core.groups.values()].sort((one, other) => (at(one) < at(other) ? 1 : -1));
  }

  /** Reads what is kept on this device, without connecting. */
  load(): Promise<void> {
    this.#core.keeper.open();
    this.#loaded ??= this.#core.load().catch((error: unknown) => {
      this.#loaded = undefined;
      throw ParleyError.of(error, "storage", true);
    });
    return this.#loaded;
  }

  /**
   * Connects, and stays connected until `disconnect`. Resolves once the groups are resumed for the first time, however
   * long that takes; rejects if it can't be.
   */
  async connect(): Promise<void> {
    const ends = this.#ends;
    await this.load();
    if (this.#connection.state === "connected") return;
    if (this.#ends !== ends) throw new ParleyError("not_connected", "disconnected while connecting");
    const ready = new Promise<void>((resolve, reject) => {
      const stops = [
        this.on("ready", () => end(resolve)),
        this.on("state", ({ state, error }) => {
          if (state !== "disconnected") return;
          end(() => reject(error ?? new ParleyError("not_connected", "disconnected while connecting")));
        }),
      ];
      const end = (then: () => void) => {
        for (const stop of stops) stop();
        then();
      };
    });
    this.#watchNetwork();
    this.#connection.connect();
    return ready;
  }

  /** Ends the connection. What is in the outbox stays there. */
  disconnect(): void {
    this.#ends += 1;
    this.#watching?.abort();
    this.#watching = undefined;
    this.#core.acks.stop();
    this.#connection.disconnect();
  }

  /** Tries now instead of waiting. */
  reconnectNow(): void {
    this.#connection.hurry();
  }

  /** Disconnects and lets go of the store, once everything is in it. */
  async close(): Promise<void> {
    this.disconnect();
    await this.#core.keeper.close(() => this.#store.close());
  }

  /** Disconnects and forgets everything on this device, what waits to be sent included: the user signs out. */
  async forget(): Promise<void> {
    this.disconnect();
    const cleared = this.#core.keeper.close(() => this.#store.clear());
    for (const item of this.outbox.items) this.outbox.discard(item).catch(() => {}); // it goes with the store
    await cleared;
  }

  /** One of the user's groups. */
  group(groupId: string): Group {
    const group = this.#core.groups.get(groupId);
    if (!group) throw new ParleyError("group_not_found", "the user has no such group here");
    return group;
  }

  /** Creates a group and tells its members. May be tried again with the same `group_id`. */
  async createGroup(body: CreateGroup): Promise<Group> {
    const created = await this.#rest.createGroup({ ...body, group_id: body.group_id ?? uuidv7() });
    const group = await this.#core.follow(created);
    // If this is lost the server does it by itself, some seconds later.
    this.#connection.request("notify_create_group", { group_id: group.id }).catch(() => {});
    return group;
  }

  /** Reads the list of groups again. */
  refresh(): Promise<void> {
    return this.#core.list();
  }

  /** Browsers know when the network went or came, long before a socket does. */
  #watchNetwork(): void {
    if (this.#watching || typeof globalThis.addEventListener !== "function" || typeof document === "undefined") return;
    this.#watching = new AbortController();
    const { signal } = this.#watching;
    globalThis.addEventListener("online", () => this.#connection.hurry(), { signal });
    globalThis.addEventListener("offline", () => this.#connection.probe(), { signal });
    // A phone that wakes up: timers stood still, and the socket may be long gone.
    const woke = () => document.visibilityState === "visible" && this.#connection.hurry();
    document.addEventListener("visibilitychange", woke, { signal });
  }
}
