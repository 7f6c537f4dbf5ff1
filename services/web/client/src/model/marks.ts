/** How far a group's messages got with the others: sent, delivered, read. */

import { Emitter, type Group, type Parley } from "@parley/sdk";

export type Mark = "sent" | "delivered" | "read";

/** Beyond this many members the server gives counts only. */
const CURSORS_MAX = 200;

export class Marks extends Emitter<{ changed: void }> {
  readonly #group: Group;
  readonly #user: string;
  #others = new Map<string, { delivered: number; read: number }>();
  /** What everybody in a large group has got and read. */
  #all = { delivered: 0, read: 0 };
  #stops: (() => void)[];

  constructor(parley: Parley, group: Group) {
    super();
    this.#group = group;
    this.#user = parley.user;
    this.#stops = [
      group.on("status", ({ user_id, delivered_seq, read_seq, seq, delivered_count, read_count, member_count }) => {
        if (user_id) this.#move(user_id, delivered_seq ?? 0, read_seq ?? 0);
        else {
          if (delivered_count >= member_count) this.#all.delivered = Math.max(this.#all.delivered, seq);
          if (read_count >= member_count) this.#all.read = Math.max(this.#all.read, seq);
        }
        this.emit("changed", undefined);
      }),
      group.on("event", ({ event }) => {
        if (event.kind === "member_added" || event.kind === "member_removed") void this.load();
      }),
      // Statuses are told live only.
      parley.on("ready", () => void this.load()),
    ];
    if (parley.state === "connected") void this.load();
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #move(user: string, delivered: number, read: number): void {
    const known = this.#others.get(user) ?? { delivered: 0, read: 0 };
    const moved = { delivered: Math.max(known.delivered, delivered), read: Math.max(known.read, read) };
    this.#others.set(user, moved);
  }

  async load(): Promise<void> {
    try {
      const { members } = await this.#group.members({ limit: CURSORS_MAX });
      // What was told live while this was under way is newer: cursors only grow.
      const known = this.#others;
      this.#others = new Map();
      for (const { user_id, delivered_seq, read_seq } of members) {
        if (user_id === this.#user || delivered_seq == null) continue;
        const before = known.get(user_id);
        this.#move(user_id, Math.max(delivered_seq, before?.delivered ?? 0), Math.max(read_seq ?? 0, before?.read ?? 0));
      }
      this.emit("changed", undefined);
    } catch {
      // The next connection asks again.
    }
  }

  /** Of the user's own message: what all the others have done with it. */
  of(seq: number): Mark {
    if (this.#others.size === 0) return seq <= this.#all.read ? "read" : seq <= this.#all.delivered ? "delivered" : "sent";
    let mark: Mark = "read";
    for (const { delivered, read } of this.#others.values()) {
      if (delivered < seq) return "sent";
      if (read < seq) mark = "delivered";
    }
    return mark;
  }
}
