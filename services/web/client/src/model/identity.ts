/** Who uses this tab, and how it gets tokens. */

import { expiryOf, ParleyError } from "@parley/sdk";

/** How a user proves who it is: a development token from this very server, or one that was pasted. */
export interface Identity {
  user: string;
  /** None: the server makes them. */
  token?: string | undefined;
}

const KEY = "parley.identity";
const RECENT = "parley.recent";
const RECENT_MAX = 4;

/** Each tab may be somebody else, so that one person can try a conversation. */
export function remembered(): Identity | undefined {
  try {
    const identity = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Identity | null;
    return identity?.user ? identity : undefined;
  } catch {
    return undefined;
  }
}

/** As well as the browser lets it: one that blocks site data keeps nothing. */
export function remember(identity: Identity | undefined): void {
  try {
    if (!identity) return sessionStorage.removeItem(KEY);
    sessionStorage.setItem(KEY, JSON.stringify(identity));
    if (identity.token !== undefined) return;
    const others = recent().filter((user) => user !== identity.user);
    localStorage.setItem(RECENT, JSON.stringify([identity.user, ...others].slice(0, RECENT_MAX)));
  } catch {
    // A reload asks who it is.
  }
}

/** Who signed in on this device before. */
export function recent(): string[] {
  try {
    const users: unknown = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(users) ? users.filter((user) => typeof user === "string") : [];
  } catch {
    return [];
  }
}

/** Whether this server makes development tokens: it listens on this machine only, with its own key. */
export async function isDevelopment(): Promise<boolean> {
  try {
    const response = await fetch("/dev/token", { cache: "no-store" });
    return response.ok;
  } catch {
    return false;
  }
}

/** A token for an identity. */
export async function tokenOf({ user, token }: Identity): Promise<string> {
  if (token !== undefined) {
    if ((expiryOf(token) ?? Number.POSITIVE_INFINITY) > Date.now()) return token;
    throw new ParleyError("token_expired", "Your token has expired. Sign in with a fresh one.");
  }
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: user }),
  });
  const body = (await response.json()) as { token?: string; error?: { code: string; message: string; retryable: boolean } };
  if (body.token) return body.token;
  const { code, message, retryable } = body.error ?? { code: "unavailable", message: "no token", retryable: true };
  throw new ParleyError(code, message, { retryable, status: response.status });
}

/** The user of a pasted token, as far as it says. */
export function userOf(token: string): string | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" && sub !== "" ? sub : undefined;
  } catch {
    return undefined;
  }
}
