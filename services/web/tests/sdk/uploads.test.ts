// What becomes of a message while its picture is on the way to an object store that stalls or refuses.
import { afterEach, expect, test, vi } from "vitest";
import { MemoryStore, ParleyError, type Parley, type ParleyOptions } from "@parley/sdk";
import { until } from "../lib/client.ts";
import { accepted, FakeServer, gate, GROUP, kept, picture, settle, standing, uploads } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  for (const parley of clients.splice(0)) await parley.close();
});

/** A client in a group, connected, whose messages are taken. */
async function connected(options: Partial<ParleyOptions> = {}) {
  const server = new FakeServer();
  const store = new MemoryStore();
  await store.saveGroup(kept(GROUP, 4), [], 0);
  server.welcome.groups = [standing(GROUP, 4)];
  server.answers["send_group_message"] = (data) => accepted(data, 5);
  // Waits between tries are none.
  const parley = server.client({ store, random: () => 0, ...options });
  clients.push(parley);
  await parley.connect();
  await settle();
  return { server, store, parley, group: parley.group(GROUP) };
}
const sent = (server: FakeServer) => server.asked("send_group_message").map(({ text, media_url }) => text ?? media_url);
const never = new Promise<void>(() => {});

/** A browser's request: it moves and ends as a test says. */
class FakeRequest {
  static all: FakeRequest[] = [];
  upload: { onprogress?: (event: { loaded: number }) => void } = {};
  status = 200;
  onload?: () => void;
  onabort?: () => void;
  isAborted = false;
  constructor() {
    FakeRequest.all.push(this);
  }
  open() {}
  setRequestHeader() {}
  send() {}
  abort() {
    this.isAborted = true;
    this.onabort?.();
  }
}

test("an upload that stands still is given up and tried again, and what waits behind it goes out", async () => {
  FakeRequest.all = [];
  vi.stubGlobal("XMLHttpRequest", FakeRequest);
  const { server, group } = await connected();
  uploads(server);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const sending = [group.send({ media: picture() }), group.send({ text: "behind it" })];
  await vi.waitFor(() => expect(FakeRequest.all).toHaveLength(1));
  const [first] = FakeRequest.all;
  // As long as it moves it may take its time.
  for (let n = 1; n <= 4; n += 1) {
    await vi.advanceTimersByTimeAsync(20_000);
    first?.upload.onprogress?.({ loaded: n });
  }
  expect(first?.isAborted).toBe(false);
  await vi.advanceTimersByTimeAsync(31_000);
  expect(first?.isAborted).toBe(true);
  await vi.waitFor(() => expect(FakeRequest.all).toHaveLength(2));
  const [, second] = FakeRequest.all;
  // All of it is on the way, and the way is long.
  second?.upload.onprogress?.({ loaded: picture().size });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(second?.isAborted).toBe(false);
  second?.onload?.();
  await Promise.all(sending);
  expect(sent(server)).toEqual(["parley:media2", "behind it"]);
  expect(vi.getTimerCount()).toBeLessThanOrEqual(3); // those of the connection
});

test("what is let go during its upload ends it, and holds up nothing", async () => {
  const { server, parley, group } = await connected();
  const { count } = uploads(server, [never]);
  const sending = group.send({ media: picture() }).catch((error: unknown) => error);
  await until("it is being uploaded", () => count() === 1);
  const behind = group.send({ text: "behind it" });
  const [item] = parley.outbox.items;
  if (item) await parley.outbox.discard(item);
  expect(await sending).toMatchObject({ code: "discarded" });
  await behind;
  expect(sent(server)).toEqual(["behind it"]);
});

test("an upload outlives a lost connection; a client that disconnects ends it, and begins anew later", async () => {
  const { server, parley, group } = await connected();
  const puts = [gate(), gate()];
  const { count } = uploads(server, [puts[0]?.wait ?? never, never]);
  const ready = () => new Promise((resolve) => parley.once("ready", resolve));
  const first = group.send({ media: picture() });
  await until("it is being uploaded", () => count() === 1);
  server.socket.end(1006);
  await ready();
  puts[0]?.open();
  await first;
  expect(sent(server)).toEqual(["parley:media1"]);
  const second = group.send({ media: picture() });
  await until("the other one is being uploaded", () => count() === 2);
  parley.disconnect();
  await settle();
  await parley.connect();
  await second;
  expect(sent(server)).toEqual(["parley:media1", "parley:media3"]);
});

test.each([400, 403, 408, 409, 429])("an object store that answers %i is tried again with a new URL, but not for ever", async (status) => {
  const { server, parley, group } = await connected();
  const { count } = uploads(server);
  let refusals = 3;
  server.routes["PUT /object/"] = () => new Response("", { status: (refusals -= 1) >= 0 ? status : 200 });
  await group.send({ media: picture() });
  expect([count(), sent(server)]).toEqual([4, ["parley:media4"]]);
  refusals = 1_000;
  const second = group.send({ media: picture() }).catch((error: unknown) => error);
  const behind = group.send({ text: "behind it" });
  expect(await second).toMatchObject({ code: "network", status });
  await behind;
  expect(count()).toBe(4 + 8);
  // And as often again when somebody asks for it.
  const failed = new Promise((resolve) => parley.outbox.on("failed", resolve));
  const [item] = parley.outbox.items;
  if (item) parley.outbox.retry(item);
  await failed;
  expect(count()).toBe(4 + 8 + 8);
});

test("an object store that is down is waited for, and one that knows no such place isn't", async () => {
  const { server, group } = await connected();
  const { count } = uploads(server);
  server.routes["PUT /object/"] = () => new Response("", { status: count() > 20 ? 404 : 503 });
  await expect(group.send({ media: picture() })).rejects.toMatchObject({ code: "network", status: 404 });
  expect(count()).toBe(21);
});

test("a token that has ended is no fault of the message: it waits for another one", async () => {
  let isOver = false;
  const server = new FakeServer();
  const getToken = () => {
    if (isOver) throw new ParleyError("token_expired", "sign in again");
    return server.token();
  };
  server.expiresAt = new Date(Date.now() + 5_000).toISOString(); // so that each call asks for one
  const store = new MemoryStore();
  await store.saveGroup(kept(GROUP, 4), [], 0);
  server.welcome.groups = [standing(GROUP, 4)];
  server.answers["send_group_message"] = (data) => accepted(data, 5);
  const parley = server.client({ store, getToken, random: () => 0.01 });
  clients.push(parley);
  await parley.connect();
  uploads(server);
  isOver = true;
  const failed: unknown[] = [];
  parley.outbox.on("failed", (one) => failed.push(one));
  const sending = parley.group(GROUP).send({ media: picture() });
  await settle();
  isOver = false;
  await sending;
  expect(failed).toEqual([]);
});

test("a file that can't be read any more fails, and what waits behind it goes out", async () => {
  const { server, group } = await connected();
  uploads(server);
  const gone = picture();
  gone.arrayBuffer = () => Promise.reject(new DOMException("it was moved", "NotReadableError"));
  const sending = group.send({ media: gone }).catch((error: unknown) => error);
  await group.send({ text: "behind it" });
  expect(await sending).toMatchObject({ code: "unreadable", retryable: false });
  expect(sent(server)).toEqual(["behind it"]);
});
