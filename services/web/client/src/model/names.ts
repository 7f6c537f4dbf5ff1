/** What users are called. */

import { Emitter, type Parley } from "@parley/sdk";

export class Names extends Emitter<{ changed: void }> {
  readonly #parley: Parley;
  readonly #known = new Map<string, string>();
  readonly #asked = new Set<string>();

  constructor(parley: Parley) {
    super();
    this.#parley = parley;
    parley.on("ready", () => this.#asked.clear());
  }

  /** The display name, or the id until it is known. */
  of(user: string): string {
    if (!this.#asked.has(user) && this.#parley.state === "connected") {
      this.#asked.add(user);
      this.#parley.profiles.get(user).then(
        (profile) => profile?.display_name && this.set(user, profile.display_name),
        () => this.#asked.delete(user),
      );
    }
    return this.#known.get(user) ?? user;
  }

  set(user: string, name: string): void {
    if (this.#known.get(user) === name) return;
    this.#known.set(user, name);
    this.emit("changed", undefined);
  }
}
