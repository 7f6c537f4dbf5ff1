// What a client does when nothing goes wrong.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { MemoryStore, ParleyError, type OutboxItem } from "@parley/sdk";
import { client, endClients, record, seqs, texts, until } from "../lib/client.ts";
import { Server } from "../lib/server.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterEach(endClients);
afterAll(() => server.end());

test("a group is created, its members are told, and a message goes round with its marks", async () => {
  const ann = client(server, "ann");
  const bob = client(server, "bob");
  await Promise.all([ann.connect(), bob.connect()]);
  const added = new Promise<string>((resolve) => bob.on("group_added", ({ group }) => resolve(group.id)));
  const tea = await ann.createGroup({ name: "Tea", members: ["bob"] });
  expect(await added).toBe(tea.id);
  const bobs = record(bob);
  const statuses: { delivered_count: number; read_count: number }[] = [];
  tea.on("status", (status) => statuses.push(status));
  const sent = await tea.send({ text: "Shall we?" });
  expect(sent).toMatchObject({ group_id: tea.id, seq: 2 });
  await until("bob has it", () => texts(bobs).includes("Shall we?"));
  expect(bob.group(tea.id).unread).toBe(1);
  // Delivered by itself, read by a call.
  await until("delivered", () => statuses.some((status) => status.delivered_count === 1 && status.read_count === 0));
  bob.group(tea.id).markRead();
  await until("read", () => statuses.some((status) => status.read_count === 1));
  expect(bob.group(tea.id).unread).toBe(0);
  const { statuses: rows } = await tea.statuses(sent.message_id);
  expect(rows).toMatchObject([{ user_id: "bob", delivered: true, read: true }]);
  expect(ann.stats.gaps + bob.stats.gaps).toBe(0);
});

test("a new device gets as much of the past as it wants, without a hole, and the rest from the history", async () => {
  const ann = client(server, "cat");
  await ann.connect();
  const group = await ann.createGroup({ name: "Long", members: [] });
  for (let n = 1; n <= 30; n += 1) await group.send({ text: `n${n}` });
  // What no device has got would come to the new one too.
  await until("all delivered", () => group.deliveredSeq === 31);
  const other = client(server, "cat", { initialReplay: 10 });
  const entries = record(other);
  await other.connect();
  await until("the past", () => entries.length === 10);
  expect(seqs(entries)).toEqual([22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
  const history = await other.group(group.id).history({ before_seq: 22, limit: 5 });
  expect(history.messages.map((message) => message.text)).toEqual(["n16", "n17", "n18", "n19", "n20"]);
  expect((await other.group(group.id).stored(3)).map((entry) => entry.data.seq)).toEqual([29, 30, 31]);
});

test("pictures are uploaded with progress, also by a client that has nothing of a browser", async () => {
  const ann = client(server, "ann");
  const bob = client(server, "bob");
  await Promise.all([ann.connect(), bob.connect()]);
  const group = await ann.createGroup({ name: "Pictures", members: ["bob"] });
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const picture = new Blob([bytes, bytes, bytes, bytes], { type: "image/png" });
  const progress: number[] = [];
  ann.outbox.on("progress", ({ sent }) => progress.push(sent));
  const bobs = record(bob);
  const sent = await group.send({ media: picture, text: "look" });
  expect(progress[0]).toBe(0);
  expect(progress.at(-1)).toBe(240_000);
  expect(progress.length).toBeGreaterThan(2);
  await until("bob has it", () => bobs.some((entry) => entry.data.seq === sent.seq));
  const message = bobs.find((entry) => entry.data.seq === sent.seq)?.data;
  expect(message).toMatchObject({ type: "image", text: "look", media: { content_length: 240_000, content_type: "image/png" } });
  const mediaId = message && "media" in message ? (message.media?.media_id ?? "") : "";
  const download = await fetch(await bob.media.url(mediaId));
  expect(new Uint8Array(await download.arrayBuffer())).toEqual(new Uint8Array(await picture.arrayBuffer()));
});

test("what is refused for good is kept with its reason, and can be tried again or let go", async () => {
  const ann = client(server, "ann");
  await ann.connect();
  const group = await ann.createGroup({ name: "Refused", members: [] });
  const failed: OutboxItem[] = [];
  ann.outbox.on("failed", ({ item }) => failed.push(item));
  const error = await group.send({ text: "x".repeat(17_000) }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ParleyError);
  expect(error).toMatchObject({ code: "too_large", retryable: false });
  expect(failed).toHaveLength(1);
  // The next one isn't held up.
  await group.send({ text: "small" });
  const [item] = ann.outbox.items;
  expect(item?.failure?.code).toBe("too_large");
  if (item) await ann.outbox.discard(item);
  expect(ann.outbox.items).toHaveLength(0);
});

test("the same client_message_id is the same message", async () => {
  const ann = client(server, "ann");
  await ann.connect();
  const group = await ann.createGroup({ name: "Twice", members: [] });
  const [one, other] = await Promise.all([
    group.send({ text: "once", client_message_id: "abc" }),
    group.send({ text: "once", client_message_id: "abc" }),
  ]);
  expect(one.message_id).toBe(other.message_id);
  const again = await group.send({ text: "once", client_message_id: "abc" });
  expect(again.message_id).toBe(one.message_id);
  expect(group.seq).toBe(2);
  const conflict = await group.send({ text: "other", client_message_id: "abc" }).catch((error: unknown) => error);
  expect(conflict).toMatchObject({ code: "idempotency_conflict", retryable: false });
});

test("more than the rate allows arrives nevertheless, in order", async () => {
  const fast = client(server, "fast");
  await fast.connect();
  const group = await fast.createGroup({ name: "Fast", members: [] });
  const entries = record(fast);
  const wanted = Array.from({ length: 90 }, (_, n) => `f${n}`);
  await Promise.all(wanted.map((text) => group.send({ text })));
  await until("all echoed", () => texts(entries).length === 90);
  expect(texts(entries)).toEqual(wanted);
});

test("members come and go, the group changes hands, and who is removed is told last", async () => {
  const ann = client(server, "ann");
  const dan = client(server, "dan");
  await Promise.all([ann.connect(), dan.connect()]);
  const group = await ann.createGroup({ name: "Hands", members: ["bob"] });
  const added = new Promise<void>((resolve) => dan.on("group_added", () => resolve()));
  await group.addMembers(["dan"]);
  await added;
  await until("dan follows", () => dan.group(group.id).isLive);
  await group.transferOwnership("dan");
  await until("dan owns it", () => dan.group(group.id).info?.owner === "dan");
  const removed = new Promise<string>((resolve) => group.on("removed", ({ reason }) => resolve(reason)));
  await dan.group(group.id).removeMember("ann");
  expect(await removed).toBe("not_a_member");
  expect(ann.groups.some((one) => one.id === group.id)).toBe(false);
  const error = await group.send({ text: "still here?" }).catch((error: unknown) => error);
  expect(error).toMatchObject({ code: "not_a_member" });
});

test("profiles, typing, and a token of somebody else", async () => {
  const ann = client(server, "ann");
  const bob = client(server, "bob");
  await Promise.all([ann.connect(), bob.connect()]);
  await ann.profiles.update({ display_name: "Ann Lee" });
  expect((await bob.profiles.get("ann"))?.display_name).toBe("Ann Lee");
  expect(await bob.profiles.get("nobody-at-all")).toBeUndefined();
  const group = await ann.createGroup({ name: "Typing", members: ["bob"] });
  await until("bob follows", () => bob.groups.some((one) => one.id === group.id && one.isLive));
  const typing = new Promise<string>((resolve) => bob.group(group.id).on("typing", ({ user_id }) => resolve(user_id)));
  group.typing();
  expect(await typing).toBe("ann");
  const wrong = client(server, "ann", { getToken: () => server.token("bob") });
  const failure = new Promise<ParleyError>((resolve) => wrong.on("error", resolve));
  await expect(wrong.connect()).rejects.toBeInstanceOf(ParleyError);
  expect((await failure).code).toBe("wrong_user");
});

test("a bad token ends it; a kept one that isn't good any more is replaced once", async () => {
  const bad = client(server, "ann", { getToken: () => "no.token.atall" });
  await expect(bad.connect()).rejects.toMatchObject({ code: "unauthenticated", retryable: false });
  expect(bad.state).toBe("disconnected");
  let calls = 0;
  const good = client(server, "ann", {
    store: new MemoryStore(),
    getToken: () => {
      calls += 1;
      return server.token("ann");
    },
  });
  await good.connect();
  good.disconnect();
  await good.connect();
  expect(calls).toBe(1);
});
