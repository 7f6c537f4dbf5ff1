/** Names and pictures of users. */

import { ParleyError } from "./errors.js";
import type { Rest } from "./rest.js";
import type { ProfileBody, PutProfile } from "./wire.js";

/** Profiles that are remembered. */
const KNOWN_MAX = 1_000;
/** For how long. */
const FRESH_MS = 5 * 60_000;

/** Profiles, each asked for once in a while. */
export class Profiles {
  readonly #rest: Rest;
  readonly #known = new Map<string, { profile: Promise<ProfileBody | undefined>; at: number }>();

  /** @internal */
  constructor(rest: Rest) {
    this.#rest = rest;
  }

  /** A user's; `undefined` for one who has none yet. */
  get(userId: string): Promise<ProfileBody | undefined> {
    const known = this.#known.get(userId);
    if (known && Date.now() - known.at < FRESH_MS) return known.profile;
    const profile = this.#rest.user(userId).catch((error: unknown) => {
      if (error instanceof ParleyError && error.code === "user_not_found") return undefined;
      this.#known.delete(userId);
      throw error;
    });
    this.#known.set(userId, { profile, at: Date.now() });
    const [oldest] = this.#known.keys();
    if (this.#known.size > KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest);
    return profile;
  }

  /** The user's own. */
  me(): Promise<ProfileBody> {
    return this.#rest.me();
  }

  /** Changes the user's own. */
  async update(profile: PutProfile): Promise<ProfileBody> {
    const updated = await this.#rest.putMe(profile);
    this.#known.set(updated.user_id, { profile: Promise.resolve(updated), at: Date.now() });
    return updated;
  }
}
