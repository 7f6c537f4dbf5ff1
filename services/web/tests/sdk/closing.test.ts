// How a client ends: nothing of it goes on, and nothing comes back.
import "fake-indexeddb/auto";
import { afterEach, expect, test, vi } from "vitest";
import { IndexedDbStore, MemoryStore, type Parley, type ParleyOptions } from "@parley/sdk";
import { until } from "../lib/client.ts";
import { FakeServer, gate, GROUP, kept, message, settle, standing } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const parley of clients.splice(0)) await parley.close();
});

async function connected(options: Partial<ParleyOptions> = {}) {
  const server = new FakeServer();
  const store = options.store ?? new MemoryStore();
  await store.saveGroup(kept(GROUP, 4), [], 0);
  server.welcome.groups = [standing(GROUP, 4)];
  const parley = server.client({ store, ...options });
  clients.push(parley);
  await parley.connect();
  await settle();
  return { server, store, parley, group: parley.group(GROUP) };
}

test("a write that failed isn't tried again after the client has forgotten everything", async () => {
  const { server, store, parley } = await connected();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { saveGroup } = store;
  store.saveGroup = () => Promise.reject(new Error("the disk is full"));
  server.socket.say("group_message", message(5));
  await settle();
  await parley.forget();
  store.saveGroup = saveGroup;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await store.load()).toEqual({ groups: [], outbox: [] });
  expect(vi.getTimerCount()).toBe(0);
});

test("a write that failed is tried once more before the client lets go of the store", async () => {
  const { server, store, parley } = await connected();
  const { saveGroup } = store;
  store.saveGroup = () => Promise.reject(new Error("the disk is full"));
  server.socket.say("group_message", message(5));
  await settle();
  store.saveGroup = saveGroup;
  await parley.close();
  expect((await store.load()).groups).toMatchObject([{ seq: 5 }]);
});

test("a client that was forgotten makes no new database, whatever is asked of it", async () => {
  const name = "closing";
  const { parley, group } = await connected({ store: new IndexedDbStore(name) });
  const waiting = group.send({ text: "waits" }).catch((error: unknown) => error);
  await until("it waits", () => parley.outbox.items.length === 1);
  await Promise.all([parley.forget(), parley.close()]);
  expect(await waiting).toMatchObject({ code: "discarded" });
  await expect(group.send({ text: "late" })).rejects.toMatchObject({ code: "storage" });
  await expect(group.stored()).rejects.toMatchObject({ code: "storage" });
  group.markRead();
  await settle();
  expect((await indexedDB.databases()).map((database) => database.name)).not.toContain(name);
});

test("what waits in the outbox is there for the same user who comes back after the client was closed", async () => {
  const name = "back";
  const { parley, group } = await connected({ store: new IndexedDbStore(name) });
  parley.disconnect();
  void group.send({ text: "waits" }).catch(() => {});
  await until("it waits", () => parley.outbox.items.length === 1);
  await parley.close();
  const { parley: later } = await connected({ store: new IndexedDbStore(name) });
  expect(later.outbox.items.map(({ text }) => text)).toEqual(["waits"]);
});

test("one that is closed while it begins doesn't connect", async () => {
  const server = new FakeServer();
  const store = new MemoryStore();
  const reading = gate();
  const { load } = store;
  store.load = async () => (await reading.wait, load.call(store));
  const parley = server.client({ store });
  clients.push(parley);
  const connecting = parley.connect().catch((error: unknown) => error);
  const closing = parley.close();
  reading.open();
  await closing;
  expect(await connecting).toMatchObject({ code: "not_connected" });
  await settle();
  expect([parley.state, server.sockets]).toEqual(["disconnected", []]);
});
