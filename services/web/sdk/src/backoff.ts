/** How long to wait before trying again. */

/** Full jitter: anything from nothing to the cap, so that a server's clients don't come back all at once. */
export function fullJitter(attempt: number, baseMs: number, maxMs: number, random: () => number): number {
  return random() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** Waits by key, each longer with every failure in a row: what fails for one doesn't hold up another. */
export class Waits {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(baseMs: number, maxMs: number, random: () => number) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  has(key: string): boolean {
    return this.#timers.has(key);
  }

  /** It failed: goes on after as long as was asked for, or longer each time. */
  failed(key: string, askedMs: number | undefined, goOn: () => void): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const ms = askedMs ?? fullJitter(failures, this.#baseMs, this.#maxMs, this.#random);
    clearTimeout(this.#timers.get(key));
    const timer = setTimeout(() => {
      this.#timers.delete(key);
      goOn();
    }, ms);
    this.#timers.set(key, timer);
  }

  /** It went well, or there is a reason to try at once: the next wait is short again. */
  reset(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    this.#failures.delete(key);
  }

  resetAll(): void {
    for (const key of [...this.#failures.keys()]) this.reset(key);
  }
}

/** Resolves after a time, or at once when the signal ends it. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
