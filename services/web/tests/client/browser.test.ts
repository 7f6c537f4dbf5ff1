// What the page does in a browser that gives it little: no site data, no room.
import { afterEach, expect, test, vi } from "vitest";
import { remember, remembered, recent } from "../../client/src/model/identity.ts";
import { storedTheme, storeTheme } from "../../client/src/model/theme.ts";
import { settle } from "../lib/fake.ts";

const blocked = ["sessionStorage", "localStorage"] as const;
afterEach(() => {
  for (const name of blocked) Reflect.deleteProperty(globalThis, name);
  vi.unstubAllGlobals();
  vi.resetModules();
});

test("where site data is blocked nothing is kept, and nothing breaks", () => {
  for (const name of blocked) {
    const get = () => {
      throw new DOMException("access is denied for this document", "SecurityError");
    };
    Object.defineProperty(globalThis, name, { configurable: true, get });
  }
  remember({ user: "ann" });
  remember(undefined);
  storeTheme("dark");
  expect([remembered(), recent(), storedTheme()]).toEqual([undefined, [], "auto"]);
});

/** The service worker, in a browser whose cache does what a test says. */
async function serviceWorker(cache: { put: () => Promise<void>; match?: () => Promise<Response | undefined> }) {
  const listeners = new Map<string, (event: unknown) => void>();
  const scope = { addEventListener: (name: string, listener: (event: unknown) => void) => listeners.set(name, listener), location: { origin: "http://here" } };
  vi.stubGlobal("self", scope);
  vi.stubGlobal("caches", { open: async () => cache, match: cache.match ?? (async () => undefined) });
  await import("../../client/src/sw.ts" as string);
  const waited: Promise<unknown>[] = [];
  const ask = (path: string) =>
    new Promise<Response>((resolve, reject) => {
      const respondWith = (response: Promise<Response>) => response.then(resolve, reject);
      const waitUntil = (promise: Promise<unknown>) => waited.push(promise);
      listeners.get("fetch")?.({ request: new Request(`http://here${path}`), respondWith, waitUntil });
    });
  return { ask, waited };
}

test("a page that can't be kept is shown nevertheless", async () => {
  const { ask, waited } = await serviceWorker({ put: () => Promise.reject(new DOMException("no room", "QuotaExceededError")) });
  vi.stubGlobal("fetch", async () => new Response("fresh"));
  expect(await (await ask("/app.js")).text()).toBe("fresh");
  await settle();
  expect(waited).toHaveLength(1);
  await Promise.all(waited);
});

test("what is kept is shown when the server can't be reached, and only then", async () => {
  const put = vi.fn(async () => {});
  const { ask, waited } = await serviceWorker({ put, match: async () => new Response("kept") });
  vi.stubGlobal("fetch", async () => new Response("fresh"));
  expect(await (await ask("/")).text()).toBe("fresh");
  await Promise.all(waited);
  expect(put).toHaveBeenCalledOnce();
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("no network")));
  expect(await (await ask("/")).text()).toBe("kept");
  expect(put).toHaveBeenCalledOnce();
});
