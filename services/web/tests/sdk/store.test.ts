// One suite for every store.
import "fake-indexeddb/auto";
import { expect, test } from "vitest";
import { IndexedDbStore, MemoryStore, type Entry, type GroupRecord, type OutboxItem, type Store } from "@parley/sdk";

let count = 0;
const STORES: [string, () => Store][] = [
  ["in memory", () => new MemoryStore()],
  ["in IndexedDB", () => new IndexedDbStore(`test ${++count}`)],
];

const record = (seq: number, epoch = "e1"): GroupRecord => ({
  group_id: "g",
  epoch,
  seq,
  head_seq: seq,
  delivered_seq: 0,
  read_seq: 0,
  unread: 0,
});
const entry = (seq: number, text = `t${seq}`, group_id = "g"): Entry => ({
  event: "group_message",
  bytes: 1,
  data: {
    group_id,
    seq,
    epoch: "e1",
    position: { partition: 0, offset: seq },
    message_id: `m${seq}`,
    client_message_id: `c${seq}`,
    sender: "ann",
    type: "text",
    text,
    created_at: "",
    updated_at: "",
  },
});
const item = (client_message_id: string, ordinal: number): OutboxItem => ({
  group_id: "g",
  client_message_id,
  type: "text",
  ordinal,
  created_at: "",
});
const seqs = async (store: Store, limit = 100) => (await store.entries("g", limit)).map(({ data }) => data.seq);

for (const [name, make] of STORES) {
  test(`${name}: the place and the events go together, and the oldest go`, async () => {
    const store = make();
    await store.saveGroup(record(2), [entry(1), entry(2)], 0);
    await store.saveGroup(record(12), [entry(10), entry(11), entry(12)], 2);
    await store.saveGroup({ ...record(1), group_id: "h" }, [entry(1, "other", "h")], 0);
    expect(await seqs(store)).toEqual([2, 10, 11, 12]);
    expect(await seqs(store, 2)).toEqual([11, 12]);
    const saved = await store.load();
    expect(saved.groups.find((group) => group.group_id === "g")?.seq).toBe(12);
    await store.saveGroup(record(12), [entry(11, "other")], 0);
    expect((await store.entries("g", 2)).map(({ data }) => ("text" in data ? data.text : ""))).toEqual(["other", "t12"]);
    await store.removeGroup("g");
    expect(await seqs(store)).toEqual([]);
    expect((await store.entries("h", 9)).length).toBe(1);
    await store.close();
  });

  test(`${name}: the outbox`, async () => {
    const store = make();
    await store.putOutbox(item("a", 1));
    await store.putOutbox(item("b", 2));
    await store.putOutbox({ ...item("a", 1), media_url: "u" });
    await store.removeOutbox(item("b", 2));
    await store.removeOutbox(item("b", 2));
    expect((await store.load()).outbox).toMatchObject([{ client_message_id: "a", media_url: "u" }]);
    await store.clear();
    expect(await store.load()).toEqual({ groups: [], outbox: [] });
    await store.close();
  });

  test(`${name}: the same id in another group is another item`, async () => {
    const store = make();
    const other = { ...item("a", 2), group_id: "h" };
    await store.putOutbox(item("a", 1));
    await store.putOutbox(other);
    expect((await store.load()).outbox.map(({ group_id }) => group_id).toSorted()).toEqual(["g", "h"]);
    await store.removeOutbox(item("a", 1));
    expect((await store.load()).outbox).toMatchObject([{ group_id: "h", ordinal: 2 }]);
    await store.close();
  });

  test(`${name}: of two uploads for one item the first one counts, unless it was refused`, async () => {
    const store = make();
    expect(await store.noteUpload(item("a", 1), "u1", undefined)).toBeUndefined();
    expect((await store.load()).outbox).toEqual([]);
    await store.putOutbox(item("a", 1));
    expect(await store.noteUpload(item("a", 1), "u1", undefined)).toBe("u1");
    expect(await store.noteUpload(item("a", 1), "u2", undefined)).toBe("u1");
    expect(await store.noteUpload(item("a", 1), "u2", "u1")).toBe("u2");
    expect((await store.load()).outbox).toMatchObject([{ client_message_id: "a", media_url: "u2" }]);
    await store.close();
  });
}

test("in IndexedDB: what version 1 kept is there, and goes on under the new key", async () => {
  const name = `test ${++count}`;
  const made = indexedDB.open(name, 1);
  await new Promise<void>((resolve, reject) => {
    made.onupgradeneeded = () => {
      made.result.createObjectStore("groups", { keyPath: "group_id" }).put(record(5));
      made.result.createObjectStore("entries", { keyPath: ["data.group_id", "data.seq"] }).put(entry(5));
      const outbox = made.result.createObjectStore("outbox", { keyPath: "client_message_id" });
      outbox.put(item("a", 1));
      outbox.put({ ...item("b", 2), failure: { code: "forbidden", message: "no" } });
    };
    made.onsuccess = () => (made.result.close(), resolve());
    made.onerror = () => reject(made.error);
  });
  const store = new IndexedDbStore(name);
  const saved = await store.load();
  expect(saved.groups).toMatchObject([{ group_id: "g", seq: 5 }]);
  expect(saved.outbox.map(({ client_message_id, failure }) => [client_message_id, failure?.code])).toEqual([
    ["a", undefined],
    ["b", "forbidden"],
  ]);
  expect(await seqs(store)).toEqual([5]);
  await store.putOutbox({ ...item("a", 3), group_id: "h" });
  expect((await store.load()).outbox).toHaveLength(3);
  await store.close();
});

test("in IndexedDB: what is kept outlives the one who kept it, and a tab that is behind takes nothing back", async () => {
  const name = `test ${++count}`;
  const [one, other] = [new IndexedDbStore(name), new IndexedDbStore(name)];
  await one.saveGroup(record(5), [entry(4), entry(5)], 0);
  await other.saveGroup(record(4), [entry(4)], 0);
  await one.close();
  await other.close();
  const later = new IndexedDbStore(name);
  expect((await later.load()).groups[0]?.seq).toBe(5);
  // Another incarnation of the log begins anew.
  await later.saveGroup(record(1, "e2"), [], 2);
  expect((await later.load()).groups[0]).toMatchObject({ epoch: "e2", seq: 1 });
  await later.close();
});
