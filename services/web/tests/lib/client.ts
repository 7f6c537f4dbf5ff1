// Clients for the tests, with short times, and a way to wait for what must come.
import { Parley, type Entry, type ParleyOptions, type WebSocketConstructor } from "@parley/sdk";
import WebSocket from "ws";
import type { Server } from "./server.ts";

export const TIMES = {
  backoffBaseMs: 20,
  backoffMaxMs: 200,
  connectTimeoutMs: 3_000,
  pingIntervalMs: 5_000,
  pongTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
};

const all: Parley[] = [];

export function client(server: Server, user: string, options: Partial<ParleyOptions> & { url?: string } = {}): Parley {
  const { url, ...rest } = options;
  const parley = new Parley(url ?? server.url, {
    getToken: () => server.token(user),
    user,
    WebSocket: WebSocket as unknown as WebSocketConstructor,
    times: TIMES,
    ...rest,
  });
  all.push(parley);
  return parley;
}

/** Ends every client that a test made. */
export async function endClients(): Promise<void> {
  for (const parley of all.splice(0)) await parley.close();
}

/** Waits until something holds; looks again whenever the clients tell something. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not in ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Everything that a client takes, in order. */
export function record(parley: Parley): Entry[] {
  const entries: Entry[] = [];
  parley.on("entry", ({ entry }) => entries.push(entry));
  return entries;
}

export const texts = (entries: readonly Entry[]): string[] =>
  entries.flatMap(({ event, data }) => (event === "group_message" ? [data.text ?? ""] : []));

export const seqs = (entries: readonly Entry[]): number[] => entries.map(({ data }) => data.seq);
