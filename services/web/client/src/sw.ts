// Keeps the client's own files, so that a reload works without a connection: what waits in the outbox is then still there
// to be seen. Nothing of the API goes through here.

const FILES = ["/", "/app.js", "/app.css", "/icon.svg", "/manifest.webmanifest"];
const CACHE = "parley-client";

interface Extendable extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface Fetch extends Extendable {
  request: Request;
  respondWith(response: Promise<Response>): void;
}
interface Scope {
  addEventListener(name: "install" | "activate", listener: (event: Extendable) => void): void;
  addEventListener(name: "fetch", listener: (event: Fetch) => void): void;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  location: Location;
}
const scope = self as unknown as Scope;

scope.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => scope.skipWaiting()));
});

scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));

// The server first, so that all files are of one version; what is kept only when it can't be reached. A page needs no room
// for its copy: it is shown also when there is none.
async function answer(event: Fetch, path: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(event.request);
  } catch (error) {
    const kept = await caches.match(path, { cacheName: CACHE });
    if (kept) return kept;
    throw error;
  }
  if (response.ok) event.waitUntil(keep(path, response.clone()).catch(() => {}));
  return response;
}

async function keep(path: string, response: Response): Promise<void> {
  await (await caches.open(CACHE)).put(path, response);
}

scope.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== scope.location.origin || !FILES.includes(url.pathname)) return;
  event.respondWith(answer(event, url.pathname));
});
