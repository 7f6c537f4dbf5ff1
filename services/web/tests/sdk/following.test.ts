// How the groups are followed when something comes between two steps: a lost connection, a store that fails, an event.
import { afterEach, expect, test } from "vitest";
import { MemoryStore, type Entry, type Parley, type ParleyError, type ParleyOptions } from "@parley/sdk";
import { resumeParts } from "../../sdk/src/resume.ts";
import { until } from "../lib/client.ts";
import { EPOCH, FakeServer, gate, GROUP, kept, message, messageEntry, OTHER_GROUP, rolledBack, settle, standing } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  for (const parley of clients.splice(0)) await parley.close();
});

/** A client in one group, connected. */
async function connected(store = new MemoryStore(), options: Partial<ParleyOptions> = {}) {
  const server = new FakeServer();
  await store.saveGroup(kept(GROUP, 4), [1, 2, 3, 4].map((seq) => messageEntry(seq)), 0);
  server.welcome.groups = [standing(GROUP, 4)];
  const parley = server.client({ store, ...options });
  clients.push(parley);
  const errors: ParleyError[] = [];
  parley.on("error", (error) => errors.push(error));
  await parley.connect();
  await settle();
  return { server, store, parley, group: parley.group(GROUP), errors };
}
const seqs = (entries: readonly Entry[]) => entries.map(({ data }) => data.seq);

test("what comes while the store is read is in what is read", async () => {
  const { server, store, group } = await connected();
  const { entries } = store;
  const reading = gate();
  store.entries = async (...args) => {
    const found = await entries.apply(store, args);
    await reading.wait;
    return found;
  };
  server.socket.say("group_message", message(5)); // is stored first
  const stored = group.stored();
  await settle();
  server.socket.say("group_message", message(6)); // the store has been read
  reading.open();
  expect(seqs(await stored)).toEqual([1, 2, 3, 4, 5, 6]);
});

test("a connection lost while a new group is subscribed to doesn't bring all of its past", async () => {
  const { server, parley } = await connected();
  const body = { group_id: OTHER_GROUP, epoch: EPOCH, head_seq: 500, name: "Old", description: "", owner: "bob" };
  server.socket.say("added_to_group", { notification_id: "n", added_by: "bob", group: body });
  await until("it is asked for", () => server.asked("subscribe_to_group").length === 1);
  expect(server.asked("subscribe_to_group")).toMatchObject([{ group_id: OTHER_GROUP, after_seq: 499 }]);
  server.welcome.groups.push(standing(OTHER_GROUP, 500));
  const ready = new Promise((resolve) => parley.on("ready", () => resolve(undefined)));
  server.socket.end(1006);
  await ready;
  expect(server.asked("resume").at(-1)?.["groups"]).toContainEqual({ group_id: OTHER_GROUP, epoch: EPOCH, after_seq: 499 });
});

test("a store that fails is a typed error, whatever it was asked for, and the groups go on", async () => {
  const { server, store, parley, group, errors } = await connected();
  const fails = () => Promise.reject(new Error("the disk is full"));
  void group.send({ text: "waits" }).catch(() => {});
  await until("it was sent", () => server.asked("send_group_message").length === 1);
  // A message is taken back: what is stored of it is read and changed.
  const { entries } = store;
  store.entries = fails;
  server.socket.say("group_event", rolledBack(5, "m4"));
  await settle();
  store.entries = entries;
  expect(errors.splice(0)).toMatchObject([{ code: "storage", message: "the disk is full" }]);
  // The user is removed: the group and what waits in it are to be forgotten.
  store.removeGroup = fails;
  store.removeOutbox = fails;
  server.socket.say("group_event", { ...rolledBack(6, ""), kind: "member_removed", count: 1, user_ids: ["ann"] });
  await settle();
  expect(errors.splice(0).map(({ code }) => code)).toEqual(["storage", "storage"]);
  expect([parley.groups, parley.outbox.items]).toEqual([[], []]);
});

test("a group that ended while the client was away, and a store that fails", async () => {
  const { server, store, parley, errors } = await connected();
  store.removeGroup = () => Promise.reject(new Error("the disk is full"));
  const gone = { group_id: GROUP, from_seq: 5, to_seq: 4, complete: false, reset_reason: "group_dissolved" };
  server.answers["resume"] = () => ["resumed", { groups: [gone] }];
  const ready = new Promise((resolve) => parley.on("ready", () => resolve(undefined)));
  server.socket.end(1006);
  await ready;
  await settle();
  expect(errors).toMatchObject([{ code: "storage" }]);
  expect(parley.groups).toEqual([]);
});

test("what couldn't be stored of a former log isn't stored with the next one", async () => {
  const { server, store, group } = await connected();
  const { saveGroup } = store;
  const saving = gate();
  store.saveGroup = async () => {
    await saving.wait;
    throw new Error("the disk is full");
  };
  server.socket.say("group_message", message(5));
  await settle();
  const anew = { group_id: GROUP, from_seq: 3, to_seq: 2, complete: false, reset_reason: "epoch_changed" };
  server.welcome.epoch = "e2";
  server.answers["resume"] = () => ["resumed", { groups: [anew] }];
  server.socket.end(1006);
  await until("it goes on", () => server.asked("resume").length === 2);
  await settle();
  saving.open();
  store.saveGroup = saveGroup;
  server.socket.say("group_message", message(3, { epoch: "e2" }));
  await settle();
  expect((await group.stored()).map(({ data }) => [data.epoch, data.seq])).toEqual([["e2", 3]]);
});

test("a message that is taken back isn't unread any more, who ever counted it", async () => {
  const server = new FakeServer();
  const store = new MemoryStore();
  await store.saveGroup(kept(GROUP, 1), [messageEntry(1)], 0);
  // Two that the server counted come by replay, two live.
  server.welcome.groups = [standing(GROUP, 3, { delivered_seq: 1, read_seq: 1, unread: 2 })];
  const parley = server.client({ store });
  clients.push(parley);
  await parley.connect();
  for (const seq of [2, 3, 4, 5]) server.socket.say("group_message", message(seq));
  const group = parley.group(GROUP);
  expect(group.unread).toBe(4);
  let changes = 0;
  group.on("changed", () => (changes += 1));
  server.socket.say("group_event", rolledBack(6, "m4"));
  await until("the live one doesn't count", () => group.unread === 3);
  server.socket.say("group_event", rolledBack(7, "m2"));
  await until("nor that of the server", () => group.unread === 2);
  expect(changes).toBeGreaterThanOrEqual(4);
  await settle();
  expect((await group.stored()).flatMap(({ data }) => ("withheld" in data ? [data.seq] : []))).toEqual([2, 4]);
  group.markRead();
  expect(group.unread).toBe(0);
});

test("what is asked for at a resume fits into the server's frames", async () => {
  const ids = Array.from({ length: 1_200 }, (_, n) => `01900000-0000-7000-8000-${String(n).padStart(12, "0")}`);
  const records = ids.map((id) => ({ ...kept(id, 2 ** 50), epoch: "01900000-0000-7000-8000-000000000000" }));
  const named = (parts: { group_id: string }[][]) => parts.flat().map(({ group_id }) => group_id);
  for (const [limit, frames] of [[Number.POSITIVE_INFINITY, 3], [65_536, 3], [16_384, 9], [10, 1_200]] as const) {
    const parts = resumeParts(records, limit);
    expect(named(parts)).toEqual(ids);
    expect(parts.length).toBeGreaterThanOrEqual(frames);
    const bytes = parts.map((groups) => JSON.stringify({ event: "resume", id: "1000000", data: { groups, limit: 1_000_000 } }).length);
    if (limit > 1_000) expect(Math.max(...bytes)).toBeLessThanOrEqual(limit);
  }
  expect(resumeParts([], 65_536)).toEqual([]);
  // And the limit is that of the welcome.
  const server = new FakeServer();
  server.welcome.limits = { ...server.welcome.limits, frame_bytes: 4_096 };
  const store = new MemoryStore();
  for (const record of records.slice(0, 100)) await store.saveGroup(record, [], 0);
  const parley = server.client({ store });
  clients.push(parley);
  await parley.connect();
  const asked = server.heard.filter(({ event }) => event === "resume");
  expect(asked.length).toBeGreaterThan(1);
  expect(Math.max(...asked.map((frame) => JSON.stringify(frame).length))).toBeLessThanOrEqual(4_096);
  expect(named(asked.map(({ data }) => data["groups"] as { group_id: string }[]))).toEqual(ids.slice(0, 100));
});
