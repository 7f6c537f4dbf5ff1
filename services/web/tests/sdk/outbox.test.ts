// What becomes of what is to be sent, whatever a server says and whenever it says it.
import { afterEach, expect, test, vi } from "vitest";
import { MemoryStore, OUTBOX_MAX, type OutboxItem, type Parley, type ParleyError, type ParleyOptions } from "@parley/sdk";
import { until } from "../lib/client.ts";
import { accepted, FakeServer, gate, GROUP, kept, message, OTHER_GROUP, picture, refusal, settle, standing, uploads } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const parley of clients.splice(0)) await parley.close();
});

/** A client in two groups, connected. */
async function connected(options: Partial<ParleyOptions> & { server?: FakeServer } = {}) {
  const { server = new FakeServer(), ...rest } = options;
  const store = options.store ?? new MemoryStore();
  for (const group of [GROUP, OTHER_GROUP]) await store.saveGroup(kept(group, 4), [], 0);
  server.welcome.groups = [standing(GROUP, 4), standing(OTHER_GROUP, 4)];
  const parley = server.client({ ...rest, store });
  clients.push(parley);
  const errors: ParleyError[] = [];
  parley.on("error", (error) => errors.push(error));
  await parley.connect();
  await settle();
  return { server, store, parley, group: parley.group(GROUP), errors };
}

const sent = (server: FakeServer) => server.asked("send_group_message");

/** A picture whose upload waits at a gate. */
async function uploading() {
  const client = await connected();
  const put = gate();
  const { count } = uploads(client.server, [put.wait]);
  const sending = client.group.send({ media: picture() }).catch((error: unknown) => error);
  await until("it is being uploaded", () => count() === 1);
  return { ...client, put, sending, item: client.parley.outbox.items[0] };
}

test("only the user's own message settles one, whoever else has used its id", async () => {
  const { server, parley, group } = await connected();
  const sending = group.send({ text: "mine", client_message_id: "same" });
  await settle();
  server.socket.say("group_message", message(5, { sender: "bob", client_message_id: "same" }));
  await settle();
  expect(parley.outbox.items.map((item) => item.text)).toEqual(["mine"]);
  server.socket.say("group_message", message(6, { sender: "ann", client_message_id: "same" }));
  expect(await sending).toMatchObject({ seq: 6 });
  expect(parley.outbox.items).toEqual([]);
});

test("the same id in two groups is two messages", async () => {
  const { server, store, parley, group } = await connected();
  server.answers["send_group_message"] = (data) => accepted(data, data["group_id"] === GROUP ? 5 : 6);
  parley.disconnect();
  const sending = [group, parley.group(OTHER_GROUP)].map((one) => one.send({ text: one.id, client_message_id: "same" }));
  await settle();
  expect((await store.load()).outbox).toHaveLength(2);
  await parley.connect();
  expect((await Promise.all(sending)).map(({ seq }) => seq)).toEqual([5, 6]);
  expect(sent(server).map(({ text }) => text)).toEqual([GROUP, OTHER_GROUP]);
  await settle();
  expect((await store.load()).outbox).toEqual([]);
});

test("what is let go during its upload is neither stored again nor sent", async () => {
  const { server, store, parley, group, put, sending, item } = await uploading();
  if (item) await parley.outbox.discard(item);
  expect(await sending).toMatchObject({ code: "discarded" });
  // Another one has taken its id meanwhile: it gets an upload of its own.
  server.answers["send_group_message"] = (data) => accepted(data, 5);
  const other = group.send({ media: picture(), client_message_id: item?.client_message_id });
  put.open();
  await other;
  expect(sent(server).map(({ media_url }) => media_url)).toEqual(["parley:media2"]);
  await settle();
  expect((await store.load()).outbox).toEqual([]);
});

test("what was let go before its refusal came doesn't come back", async () => {
  const { server, store, parley, group } = await connected();
  const failed: OutboxItem[] = [];
  parley.outbox.on("failed", ({ item }) => failed.push(item));
  void group.send({ text: "no" }).catch(() => {});
  await until("it was sent", () => sent(server).length === 1);
  const [item] = parley.outbox.items;
  if (item) await parley.outbox.discard(item);
  const { id } = server.heard.find(({ event }) => event === "send_group_message") ?? {};
  server.socket.say(...refusal("bad_request"), id);
  await settle();
  expect(failed).toEqual([]);
  expect((await store.load()).outbox).toEqual([]);
});

test("waits between tries grow to the cap, are short again after a success, and with a new connection", async () => {
  const { server, group, parley } = await connected({ random: () => 0.999 });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const at: number[] = [];
  let isBusy = true;
  server.answers["send_group_message"] = (data) => {
    at.push(Date.now());
    return isBusy ? refusal("busy", true) : accepted(data, 5);
  };
  const waits = () => at.slice(1).map((time, n) => Math.round((time - (at[n] ?? 0)) / 100) * 100);
  const sending = group.send({ text: "in time" });
  await vi.advanceTimersByTimeAsync(100_000);
  expect(waits().slice(0, 8)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  isBusy = false;
  await vi.advanceTimersByTimeAsync(30_000);
  await sending;
  isBusy = true;
  at.length = 0;
  void group.send({ text: "later" }).catch(() => {});
  await vi.advanceTimersByTimeAsync(4_000);
  expect(waits()).toEqual([500, 1_000, 2_000]);
  // It doesn't sit out what the last connection owed it.
  at.length = 0;
  parley.disconnect();
  await parley.connect();
  await vi.advanceTimersByTimeAsync(1_600);
  expect(waits()).toEqual([500, 1_000]);
  parley.disconnect();
});

test("waits of acknowledgements grow too, and hold up no other group's", async () => {
  const { server, parley } = await connected({ random: () => 0.999 });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  const at: number[] = [];
  const others: number[] = [];
  server.answers["acknowledge_group_message"] = ({ group_id, seq }) => {
    (group_id === GROUP ? at : others).push(Date.now());
    if (group_id === GROUP) return refusal("busy", true);
    return ["group_message_acknowledged", { group_id, delivered_seq: seq, read_seq: 4 }];
  };
  server.socket.say("group_message", message(5));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(at.slice(1).map((time, n) => Math.round((time - (at[n] ?? 0)) / 500) * 500)).toEqual([1_000, 2_000, 4_000]);
  server.socket.say("group_message", message(5, { group_id: OTHER_GROUP }));
  await vi.advanceTimersByTimeAsync(100);
  expect(others).toHaveLength(1);
  parley.disconnect();
});

test("what isn't the object that was uploaded is uploaded anew, also when it is tried again later", async () => {
  const { server, parley, group } = await connected();
  const { count } = uploads(server);
  let good = "parley:media2";
  server.answers["send_group_message"] = (data) =>
    data["media_url"] === good ? accepted(data, 5) : refusal("media_mismatch");
  await group.send({ media: picture() });
  expect(count()).toBe(2);
  good = "parley:media5";
  await expect(group.send({ media: picture() })).rejects.toMatchObject({ code: "media_mismatch" });
  const [item] = parley.outbox.items;
  const done = new Promise((resolve) => parley.outbox.on("sent", resolve));
  if (item) parley.outbox.retry(item);
  await done;
  expect(sent(server).map(({ media_url }) => media_url)).toEqual([1, 2, 3, 4, 4, 5].map((n) => `parley:media${n}`));
});

test("what is sent under a refused one's id takes its place", async () => {
  const { server, store, parley, group } = await connected();
  server.answers["send_group_message"] = (data) => (data["text"] === "good" ? accepted(data, 5) : refusal("too_large"));
  await expect(group.send({ text: "bad", client_message_id: "same" })).rejects.toMatchObject({ code: "too_large" });
  const [first, second] = [group.send({ text: "good", client_message_id: "same" }), group.send({ text: "good", client_message_id: "same" })];
  expect(await first).toMatchObject({ seq: 5 });
  expect(await second).toMatchObject({ seq: 5 });
  await settle();
  expect(sent(server).map(({ text }) => text)).toEqual(["bad", "good"]);
  expect(parley.outbox.items).toEqual([]);
  expect((await store.load()).outbox).toEqual([]);
});

test("what waits in a group that is left is let go, and nothing of it is uploaded", async () => {
  const { server, store, parley, group } = await connected();
  const { count } = uploads(server);
  const sending = [{ text: "first" }, { media: picture() }, { media: picture() }].map((one) => group.send(one));
  const ended = Promise.allSettled(sending);
  await until("the first one was sent", () => sent(server).length === 1);
  const removed = { kind: "member_removed", count: 1, user_ids: ["ann"], actor: "bob" };
  const { group_id, seq, epoch, position, created_at } = message(5);
  server.socket.say("group_event", { group_id, seq, epoch, position, created_at, ...removed });
  expect((await ended).map((one) => "reason" in one && one.reason.code)).toEqual(["discarded", "discarded", "discarded"]);
  const { id } = server.heard.find(({ event }) => event === "send_group_message") ?? {};
  server.socket.say(...refusal("not_a_member"), id);
  await settle();
  expect([parley.outbox.items, (await store.load()).outbox, count()]).toEqual([[], [], 0]);
});

test("what can't be stored isn't sent, and all who asked for it are told", async () => {
  const { server, store, parley, group } = await connected();
  store.putOutbox = () => Promise.reject(new Error("the disk is full"));
  const twice = [1, 2].map(() => group.send({ text: "no", client_message_id: "same" }));
  const ended = await Promise.allSettled(twice);
  expect(ended.map((one) => "reason" in one && one.reason.code)).toEqual(["storage", "storage"]);
  expect([parley.outbox.items, sent(server)]).toEqual([[], []]);
});

test("what the store hasn't taken isn't sent before, nor what comes after it, and goes to nobody if it refuses it", async () => {
  const { server, store, group, parley } = await connected();
  server.answers["send_group_message"] = (data) => accepted(data, data["text"] === "first" ? 5 : 6);
  const storing = gate();
  const { putOutbox } = store;
  store.putOutbox = async (item) => {
    if (item.text !== "refused") return putOutbox.call(store, item);
    await storing.wait;
    throw new Error("the disk is full");
  };
  const refused = group.send({ text: "refused" }).catch((error: unknown) => error);
  const queued: (string | undefined)[] = [];
  parley.outbox.on("queued", ({ text }) => queued.push(text));
  const later = group.send({ text: "later" });
  await settle();
  // Something else sets it going.
  void parley.group(OTHER_GROUP).send({ text: "other" });
  server.socket.end(1006);
  await new Promise((resolve) => parley.on("ready", resolve));
  await settle();
  expect(sent(server)).toEqual([]);
  storing.open();
  expect(await refused).toMatchObject({ code: "storage" });
  await later;
  expect(sent(server).map(({ text }) => text)).not.toContain("refused");
  expect(queued).toEqual(["later", "other"]);
});

test("the same id again joins the one that waits, also when no other one would find room", async () => {
  const { server, parley, group } = await connected();
  parley.disconnect();
  const all = Array.from({ length: OUTBOX_MAX }, (_, n) => group.send({ text: `${n}`, client_message_id: `${n}` }));
  for (const one of all) one.catch(() => {});
  await expect(group.send({ text: "no" })).rejects.toMatchObject({ code: "outbox_full" });
  const again = group.send({ text: "0", client_message_id: "0" });
  server.answers["send_group_message"] = (data) => accepted(data, 5);
  await parley.connect();
  expect(await again).toMatchObject({ client_message_id: "0" });
  await parley.forget();
});

test("a store that fails while one is tried again is a typed error, and it is sent nevertheless", async () => {
  const { server, store, parley, group, errors } = await connected();
  server.answers["send_group_message"] = () => refusal("forbidden");
  await expect(group.send({ text: "no" })).rejects.toMatchObject({ code: "forbidden" });
  store.putOutbox = () => Promise.reject(new Error("the disk is full"));
  server.answers["send_group_message"] = (data) => accepted(data, 5);
  const done = new Promise((resolve) => parley.outbox.on("sent", resolve));
  const [item] = parley.outbox.items;
  if (item) parley.outbox.retry(item);
  await done;
  await settle();
  expect(errors).toMatchObject([{ code: "storage", message: "the disk is full", retryable: true }]);
});

test("two tabs with the same unsent picture send it with one URL", async () => {
  const store = new MemoryStore();
  const item: OutboxItem = { group_id: GROUP, client_message_id: "x", type: "image", media: { data: picture(), content_type: "image/png" }, ordinal: 1, created_at: "" };
  await store.putOutbox(item);
  const server = new FakeServer();
  const [one, other] = [gate(), gate()];
  const { count } = uploads(server, [one.wait, other.wait]);
  server.answers["send_group_message"] = () => undefined;
  await connected({ server, store });
  await connected({ server, store });
  await until("both upload", () => count() === 2);
  one.open();
  await until("one sends", () => sent(server).length === 1);
  other.open();
  await until("both send", () => sent(server).length === 2);
  expect(sent(server).map(({ media_url }) => media_url)).toEqual(["parley:media1", "parley:media1"]);
});

test("a picture that another tab has sent during the upload isn't sent again", async () => {
  const { server, store, put, sending, item } = await uploading();
  if (item) await store.removeOutbox(item);
  put.open();
  expect(await sending).toMatchObject({ code: "discarded" });
  expect(sent(server)).toEqual([]);
});
