/** What the address says. */

/** The group in its hash; none if somebody put there what isn't even text. */
export function groupIn(hash: string): string | undefined {
  try {
    return decodeURIComponent(hash.slice(1)) || undefined;
  } catch {
    return undefined;
  }
}
