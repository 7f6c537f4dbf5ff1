// What a client does when the network or the server breaks: nothing is lost, nothing comes twice, and it says so.
import { afterEach, expect, test } from "vitest";
import { MemoryStore, type ParleyError, type StateChange } from "@parley/sdk";
import { client, endClients, record, seqs, texts, TIMES, until } from "../lib/client.ts";
import { Proxy } from "../lib/proxy.ts";
import { Server } from "../lib/server.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  await endClients();
  for (const end of ends.splice(0).reverse()) await end();
});

async function setting(set: string[] = []): Promise<{ server: Server; proxy: Proxy }> {
  const server = await Server.start(set);
  ends.push(() => server.end());
  const proxy = await Proxy.start(server.port);
  ends.push(() => proxy.end());
  return { server, proxy };
}

/** 1, 2, 3 … */
const dense = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

test("200 random disconnects while two users talk: nothing lost, nothing twice", { timeout: 180_000 }, async () => {
  const { server, proxy } = await setting(["limits.sends_per_second=0"]);
  const url = proxy.url;
  // One token each: what is tested is the connection.
  const tokens = new Map([["ann", await server.token("ann")], ["bob", await server.token("bob")]]);
  const of = (user: string) => client(server, user, { url, getToken: () => tokens.get(user) ?? "" });
  const ann = of("ann");
  const bob = of("bob");
  await Promise.all([ann.connect(), bob.connect()]);
  const group = await ann.createGroup({ name: "Storm", members: ["bob"] });
  await until("bob follows", () => bob.groups.some((one) => one.id === group.id && one.isLive));
  await until("both have the beginning", () => group.seq === 1 && bob.group(group.id).seq === 1);
  const [anns, bobs] = [record(ann), record(bob)];
  const start = group.seq;
  let cutting = true;
  const wanted: string[] = [];
  const sends: Promise<unknown>[] = [];
  const talk = async (who: typeof ann) => {
    for (let n = 0; cutting; n += 1) {
      const text = `${who.user} ${n}`;
      wanted.push(text);
      sends.push(who.group(group.id).send({ text }));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
    }
  };
  const talking = [talk(ann), talk(bob)];
  for (let cuts = 0; cuts < 200; cuts += 1) {
    await until("somebody is connected", () => ann.state === "connected" || bob.state === "connected");
    // At any point: in the handshake, in the resume, in the replay, in the middle of a send.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
    proxy.cut();
  }
  cutting = false;
  await Promise.all([...talking, ...sends]);
  const head = start + wanted.length;
  await until("everybody has everything", () => ann.group(group.id).seq === head && bob.group(group.id).seq === head);
  for (const [who, entries] of [[ann, anns], [bob, bobs]] as const) {
    expect(seqs(entries)).toEqual(dense(start + 1, head));
    expect(texts(entries).toSorted()).toEqual(wanted.toSorted());
    // Each one's own come in the order of sending.
    for (const user of ["ann", "bob"]) {
      const own = texts(entries).filter((text) => text.startsWith(user));
      expect(own).toEqual(wanted.filter((text) => text.startsWith(user)));
    }
    expect(who.outbox.items).toHaveLength(0);
    expect(who.stats.sessions).toBeGreaterThan(20);
  }
});

test("a half-open connection is noticed and replaced, and what was sent into it arrives once", async () => {
  const { server, proxy } = await setting();
  const times = { ...TIMES, pingIntervalMs: 300, pongTimeoutMs: 300 };
  const ann = client(server, "ann", { url: proxy.url, times });
  await ann.connect();
  const group = await ann.createGroup({ name: "Half", members: [] });
  const entries = record(ann);
  const sessions = ann.stats.sessions;
  proxy.mode = "silent";
  const sent = group.send({ text: "into the void" });
  await until("noticed", () => ann.state !== "connected");
  proxy.mode = "open";
  await sent;
  await until("echoed", () => texts(entries).length > 0);
  expect(texts(entries)).toEqual(["into the void"]);
  expect(ann.stats.sessions).toBeGreaterThan(sessions);
});

test("kill -9 in the middle of sending, twice: what was acknowledged is there, what waited arrives once", async () => {
  const { server } = await setting(["limits.sends_per_second=0"]);
  const token = await server.token("ann");
  const ann = client(server, "ann", { getToken: () => token });
  await ann.connect();
  const group = await ann.createGroup({ name: "Crash", members: [] });
  await until("it begins", () => group.seq === 1);
  const entries = record(ann);
  const start = group.seq;
  const wanted = Array.from({ length: 150 }, (_, n) => `k${n}`);
  let sent = 0;
  const all = Promise.all(wanted.map((text) => group.send({ text }).then(() => (sent += 1))));
  for (const at of [20, 80]) {
    await until(`${at} are acknowledged`, () => sent >= at);
    await server.kill();
    await server.start();
  }
  await all;
  await until("all echoed", () => texts(entries).length >= wanted.length);
  expect(texts(entries)).toEqual(wanted);
  expect(seqs(entries)).toEqual(dense(start + 1, start + wanted.length));
});

test("a server that stops in order says when to come back, and is obeyed", async () => {
  const { server } = await setting();
  const ann = client(server, "ann");
  await ann.connect();
  const asked = new Promise<number>((resolve) => {
    ann.on("frame", ({ event, data }) => event === "go_away" && resolve((data as { reconnect_after_ms: number }).reconnect_after_ms));
  });
  const lost = new Promise<StateChange>((resolve) => ann.on("state", (change) => change.state === "connecting" && resolve(change)));
  await server.stop();
  expect(await lost).toMatchObject({ code: 3001, retryInMs: await asked });
  await server.start();
  await until("back", () => ann.state === "connected");
});

test("the outbox survives: what one run couldn't send, the next one does, with the same id", async () => {
  const { server, proxy } = await setting();
  const store = new MemoryStore();
  const first = client(server, "ann", { url: proxy.url, store });
  await first.connect();
  const group = await first.createGroup({ name: "Later", members: ["bob"] });
  await until("it is live", () => group.isLive);
  proxy.mode = "refuse";
  proxy.cut();
  const queued = ["one", "two", "three"];
  for (const text of queued) void group.send({ text }).catch(() => {});
  await until("stored", async () => (await store.load()).outbox.length === 3);
  const ids = first.outbox.items.map((item) => item.client_message_id);
  await first.close();
  proxy.mode = "open";
  const second = client(server, "ann", { url: proxy.url, store });
  await second.load();
  expect(second.outbox.items.map((item) => item.client_message_id)).toEqual(ids);
  const entries = record(second);
  await second.connect();
  await until("sent", () => texts(entries).length === 3);
  expect(texts(entries)).toEqual(queued);
  expect(second.outbox.items).toHaveLength(0);
});

test("a client that was away gets exactly what it missed, and what it read there is known afterwards", async () => {
  const { server } = await setting();
  const ann = client(server, "ann");
  const store = new MemoryStore();
  const before = client(server, "bob", { store });
  await Promise.all([ann.connect(), before.connect()]);
  const group = await ann.createGroup({ name: "Away", members: ["bob"] });
  await group.send({ text: "seen" });
  await until("bob has it", () => before.groups[0]?.seq === 2);
  await before.close();
  for (const text of ["missed 1", "missed 2"]) await group.send({ text });
  const after = client(server, "bob", { store });
  const entries = record(after);
  await after.load();
  const known = after.group(group.id);
  expect((await known.stored()).map((entry) => entry.data.seq)).toEqual([1, 2]);
  known.markRead();
  expect(known.unread).toBe(0);
  await after.connect();
  await until("replayed", () => entries.length === 2);
  expect(texts(entries)).toEqual(["missed 1", "missed 2"]);
  await until("read is known", async () => {
    const { members } = await group.members();
    return members.some((member) => member.user_id === "bob" && member.read_seq === 2 && member.delivered_seq === 4);
  });
  await until("what is left is counted", () => known.unread === 2);
});

test("a replay that is cut short is a typed reset, and the stream goes on behind it", async () => {
  const { server } = await setting(["limits.sends_per_second=0"]);
  const ann = client(server, "ann");
  const store = new MemoryStore();
  const before = client(server, "bob", { store });
  await Promise.all([ann.connect(), before.connect()]);
  const group = await ann.createGroup({ name: "Reset", members: ["bob"] });
  await until("bob follows", () => before.groups[0]?.seq === 1);
  await before.close();
  for (let n = 2; n <= 40; n += 1) await group.send({ text: `r${n}` });
  const after = client(server, "bob", { store, replayLimit: 10 });
  const entries = record(after);
  const reset = new Promise((resolve) => after.on("reset", ({ reset }) => resolve(reset)));
  await after.connect();
  expect(await reset).toEqual({ reason: "limit", after_seq: 1, from_seq: 31, to_seq: 40 });
  await until("the newest", () => entries.length === 10);
  await group.send({ text: "live" });
  await until("live", () => entries.length === 11);
  expect(seqs(entries)).toEqual(dense(31, 41));
  expect((await after.group(group.id).stored()).map((entry) => entry.data.seq)).toEqual(dense(31, 41));
});

test("another incarnation of the log is a typed reset, not a mixture", async () => {
  const one = await setting();
  const other = await setting();
  const store = new MemoryStore();
  const before = client(one.server, "ann", { store });
  await before.connect();
  const group = await before.createGroup({ name: "Epoch", members: [] });
  for (let n = 0; n < 5; n += 1) await group.send({ text: `old ${n}` });
  await until("echoed", () => group.seq === 6);
  await before.close();
  const fresh = client(other.server, "ann");
  await fresh.connect();
  await fresh.createGroup({ name: "Epoch", members: ["bob"], group_id: group.id });
  await until("it begins", () => fresh.group(group.id).deliveredSeq === 1);
  await fresh.close();
  const bob = client(other.server, "bob");
  await bob.connect();
  await until("bob is in", () => bob.groups[0]?.isLive === true);
  for (let n = 0; n < 8; n += 1) await bob.group(group.id).send({ text: `unseen ${n}` });
  const after = client(other.server, "ann", { store });
  // What was seen of the former log must not be acknowledged in this one: that would be a lie to whoever sent it.
  const acknowledged: number[] = [];
  after.on("frame", ({ direction, event, data }) => {
    if (direction === "out" && event === "acknowledge_group_message") acknowledged.push((data as { seq: number }).seq);
  });
  const entries = record(after);
  const resets: string[] = [];
  after.on("reset", ({ reset }) => resets.push(reset.reason));
  await after.connect();
  await until("all of the new log", () => texts(entries).length === 8);
  await until("delivered", () => acknowledged.includes(9));
  expect(acknowledged.filter((seq) => seq === 6)).toEqual([]);
  expect(resets).toEqual(["epoch_changed"]);
  const stored = await after.group(group.id).stored();
  expect(new Set(stored.map((entry) => entry.data.epoch)).size).toBe(1);
  expect(texts(stored)).toEqual(Array.from({ length: 8 }, (_, n) => `unseen ${n}`));
});

test("a hole in what comes is noticed, and filled by a replay", async () => {
  const { server } = await setting();
  // A socket that swallows one message: no server does that, so it is made here.
  const { default: WebSocket } = await import("ws");
  let swallow = true;
  class Lossy extends WebSocket {
    override emit(name: string | symbol, ...args: unknown[]): boolean {
      if (name === "message" && swallow && String(args[0]).includes('"text":"lost"')) {
        swallow = false;
        return true;
      }
      return super.emit(name, ...args);
    }
  }
  const bob = client(server, "bob", { WebSocket: Lossy as never });
  const ann = client(server, "ann");
  await Promise.all([ann.connect(), bob.connect()]);
  const group = await ann.createGroup({ name: "Hole", members: ["bob"] });
  await until("bob follows", () => bob.groups[0]?.isLive === true);
  const entries = record(bob);
  for (const text of ["kept", "lost", "after"]) await group.send({ text });
  await until("filled", () => texts(entries).length === 3);
  expect(texts(entries)).toEqual(["kept", "lost", "after"]);
  expect(bob.stats.gaps).toBe(1);
});

test("a token is replaced on the living connection before it ends", async () => {
  const { server } = await setting();
  const ann = client(server, "ann", { getToken: () => server.token("ann", "4s") });
  const lost: StateChange[] = [];
  await ann.connect();
  ann.on("state", (change) => lost.push(change));
  const refreshed = () => new Promise<void>((resolve) => ann.on("frame", ({ event }) => event === "authenticated" && resolve()));
  await refreshed();
  await refreshed();
  await refreshed();
  expect(lost).toEqual([]);
  expect(ann.stats.sessions).toBe(1);
});

test("a token that isn't replaced in time costs the connection, not the session's messages", async () => {
  const { server } = await setting();
  let refuse = false;
  const errors: ParleyError[] = [];
  const ann = client(server, "ann", {
    getToken: () => {
      if (refuse) throw new Error("the issuer is away");
      return server.token("ann", "2s");
    },
  });
  ann.on("error", (error) => errors.push(error));
  await ann.connect();
  const group = await ann.createGroup({ name: "Late", members: [] });
  refuse = true;
  const closed = new Promise<StateChange>((resolve) => ann.on("state", resolve));
  expect(await closed).toMatchObject({ state: "connecting", code: 3005 });
  const sent = group.send({ text: "meanwhile" });
  refuse = false;
  await sent;
  expect(errors.some((error) => error.code === "token" && error.retryable)).toBe(true);
});

test("waits between tries are spread over the whole range, and end at the cap", async () => {
  const { fullJitter } = await import("@parley/sdk");
  expect(fullJitter(0, 500, 30_000, () => 0)).toBe(0);
  expect(fullJitter(3, 500, 30_000, () => 0.5)).toBe(2_000);
  expect(fullJitter(50, 500, 30_000, () => 1)).toBe(30_000);
  // A client that nobody answers: every wait is drawn below a cap that doubles.
  const { server, proxy } = await setting();
  proxy.mode = "refuse";
  const times = { ...TIMES, backoffBaseMs: 4, backoffMaxMs: 64 };
  const draws: number[] = [];
  const ann = client(server, "ann", { url: proxy.url, times, random: () => 0.999 });
  ann.on("state", ({ retryInMs }) => retryInMs !== undefined && draws.push(Math.ceil(retryInMs)));
  void ann.connect().catch(() => {});
  await until("six tries", () => draws.length >= 6);
  expect(draws.slice(0, 6)).toEqual([4, 8, 16, 32, 64, 64]);
});
