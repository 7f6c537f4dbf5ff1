/** The log as this client sees it: events of the user's groups as they are appended, and what happened to the connection. */

import { Emitter, type Entry, type Group, type Parley } from "@parley/sdk";

/** Lines that are kept. */
const LINES_MAX = 300;

type Content =
  | { kind: "event"; entry: Entry; group: Group; replayed: boolean }
  | { kind: "note"; text: string; tone: "good" | "bad" | "plain" };

export type Line = { key: number; at: Date } & Content;

export class LogModel extends Emitter<{ changed: void }> {
  /** Newest first. */
  lines: Line[] = [];
  #key = 0;
  #lostAt = 0;

  constructor(parley: Parley) {
    super();
    parley.on("entry", ({ group, entry, replayed }) => {
      this.#add({ kind: "event", entry, replayed, group });
    });
    parley.on("state", ({ state, previous, reason, code }) => {
      if (state === "connected") {
        const away = this.#lostAt === 0 ? "" : ` after ${((Date.now() - this.#lostAt) / 1000).toFixed(1)} s`;
        this.#note(`connected${away}; resuming from this client's own seq`, "good");
        this.#lostAt = 0;
      } else if (previous === "connected") {
        this.#lostAt = Date.now();
        this.#note(`connection ended${code ? ` (${code})` : ""}${reason ? `: ${reason}` : ""}`, "bad");
      }
    });
    parley.on("reset", ({ group, reset }) => {
      this.#note(`${group.info?.name ?? "a group"} was reset (${reset.reason}): goes on at seq ${reset.from_seq}`, "plain");
    });
    parley.on("gap", ({ expected, got }) => this.#note(`gap: expected seq ${expected}, got ${got}; asking again`, "bad"));
  }

  #note(text: string, tone: "good" | "bad" | "plain"): void {
    this.#add({ kind: "note", text, tone });
  }

  #add(content: Content): void {
    this.lines = [{ key: ++this.#key, at: new Date(), ...content }, ...this.lines].slice(0, LINES_MAX);
    this.emit("changed", undefined);
  }
}
