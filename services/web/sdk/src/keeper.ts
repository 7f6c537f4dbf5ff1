/** Writes what is new in the groups to the store, one step after another, and reads it back. */

import { ParleyError } from "./errors.js";
import type { Group } from "./group.js";
import type { Entry, Store } from "./store.js";

/** A failed write is tried again after this. */
const RETRY_MS = 1_000;

interface KeeperOptions {
  store: Store;
  /** Events of each group that are kept. */
  perGroup: number;
  /** Whether a group is still one of the user's. */
  isKnown: (group: Group) => boolean;
  /** Everything up to here is in the store. */
  saved: (group: Group, seq: number) => void;
  failed: (error: ParleyError) => void;
}

export class Keeper {
  readonly #options: KeeperOptions;
  #steps: Promise<unknown> = Promise.resolve();
  readonly #saving = new Set<Group>();
  /** Groups whose write failed, until it is tried again. */
  readonly #failed = new Map<Group, ReturnType<typeof setTimeout>>();
  #isClosed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** One step on the store after another, whatever became of the one before. */
  inOrder<T>(step: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new ParleyError("storage", "the client is closed", { retryable: true }));
    return this.#next(step);
  }

  #next<T>(step: () => Promise<T>): Promise<T> {
    const next = this.#steps.then(step, step);
    this.#steps = next.catch(() => {});
    return next;
  }

  /** Everything up to now is stored, then the last step is done. What comes later would bring back what that let go. */
  close(last: () => Promise<void>): Promise<void> {
    for (const group of [...this.#failed.keys()]) this.save(group);
    this.#isClosed = true;
    return this.#next(last);
  }

  /** Somebody uses it again. */
  open(): void {
    this.#isClosed = false;
  }

  /** The newest events of a group, those included that are still to be stored. */
  async stored(group: Group, limit: number): Promise<Entry[]> {
    const all = await this.inOrder(async () => {
      const stored = await this.#options.store.entries(group.id, limit);
      // Only now, and within the step: no other step takes any of them away before, and what came meanwhile is among them.
      return [...stored, ...group.unsaved];
    });
    const bySeq = new Map(all.map((entry) => [entry.data.seq, entry]));
    const entries = [...bySeq.values()].sort((one, other) => one.data.seq - other.data.seq);
    return entries.filter((entry) => entry.data.seq >= group.keepFrom).slice(-limit);
  }

  /** Stores what is new in a group, soon and in one step. */
  save(group: Group): void {
    if (this.#isClosed || this.#saving.has(group)) return;
    this.#saving.add(group);
    clearTimeout(this.#failed.get(group));
    this.#failed.delete(group);
    void this.inOrder(() => this.#save(group)).catch((error: unknown) => {
      this.#options.failed(ParleyError.of(error, "storage", true));
      if (!this.#isClosed) this.#failed.set(group, setTimeout(() => this.save(group), RETRY_MS));
    });
  }

  async #save(group: Group): Promise<void> {
    this.#saving.delete(group);
    if (!this.#options.isKnown(group)) return;
    const { store, perGroup, saved } = this.#options;
    const entries = group.unsaved;
    const { epoch, seq } = group.record;
    // A reset may come in between: what was taken is of another place then, and the next step stores that.
    const isSame = () => group.record.epoch === epoch && group.record.seq >= seq;
    group.unsaved = [];
    try {
      await store.saveGroup({ ...group.record }, entries, Math.max(group.keepFrom, seq - perGroup + 1, 0));
    } catch (error) {
      // More than is kept needn't be tried again.
      if (isSame()) group.unsaved = [...entries, ...group.unsaved].slice(-perGroup);
      throw error;
    }
    if (!isSame()) return;
    group.savedSeq = Math.max(group.savedSeq, seq);
    saved(group, seq);
  }
}
