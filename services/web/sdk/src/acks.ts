/** Acknowledgements: gathered, cumulative, sent until the server has them. */

import { Waits } from "./backoff.js";
import type { Connection } from "./connection.js";
import { ParleyError } from "./errors.js";
import type { Acknowledged } from "./wire.js";

type Status = "delivered" | "read";
interface Wanted {
  delivered: number;
  read: number;
}

/** So long what is wanted is gathered. */
const GATHER_MS = 50;
/** Groups whose acknowledgements are under way at once. */
const ACTIVE_MAX = 8;
const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export class Acks {
  readonly #connection: Connection;
  readonly #done: (acknowledged: Acknowledged) => void;
  readonly #wanted = new Map<string, Wanted>();
  readonly #active = new Set<string>();
  readonly #waits: Waits;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, random: () => number, done: (acknowledged: Acknowledged) => void) {
    this.#connection = connection;
    this.#done = done;
    this.#waits = new Waits(RETRY_BASE_MS, RETRY_MAX_MS, random);
  }

  want(group: string, status: Status, seq: number): void {
    const wanted = this.#wanted.get(group) ?? { delivered: 0, read: 0 };
    wanted[status] = Math.max(wanted[status], seq);
    this.#wanted.set(group, wanted);
    this.#soon(GATHER_MS);
  }

  forget(group: string): void {
    this.#wanted.delete(group);
    this.#waits.reset(group);
  }

  /** There is a connection again. */
  resume(): void {
    this.#waits.resetAll();
    this.#soon(0);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waits.resetAll();
  }

  #soon(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#pump();
    }, ms);
  }

  #pump(): void {
    if (this.#connection.state !== "connected") return;
    for (const [group, wanted] of this.#wanted) {
      if (this.#active.size >= ACTIVE_MAX) return;
      if (this.#active.has(group) || this.#waits.has(group)) continue;
      this.#wanted.delete(group);
      this.#active.add(group);
      void this.#send(group, wanted);
    }
  }

  async #send(group: string, wanted: Wanted): Promise<void> {
    // Read implies delivered, so one request says both unless more was delivered than read.
    const statuses: Status[] = wanted.delivered > wanted.read ? ["delivered"] : [];
    if (wanted.read > 0) statuses.push("read");
    try {
      for (const status of statuses) {
        const request = { group_id: group, seq: wanted[status], status };
        this.#done(await this.#connection.request("acknowledge_group_message", request));
      }
      this.#waits.reset(group);
    } catch (error) {
      const failure = ParleyError.of(error, "connection_lost", true);
      if (failure.retryable) {
        this.want(group, "delivered", wanted.delivered);
        this.want(group, "read", wanted.read);
        // Without a connection there is nothing to wait for but the next one.
        if (this.#connection.state === "connected") this.#waits.failed(group, failure.retryAfterMs, () => this.#pump());
      }
    }
    this.#active.delete(group);
    this.#pump();
  }
}
