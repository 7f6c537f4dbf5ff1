// What is on the screen of a conversation, as values.
import { afterEach, expect, test } from "vitest";
import { MemoryStore, type Group, type HistoryPage, type Messages, type Parley } from "@parley/sdk";
import { groupIn } from "../../client/src/model/place.ts";
import { Timeline } from "../../client/src/model/timeline.ts";
import { FakeServer, gate, GROUP, kept, message, messageEntry, rolledBack, settle, standing } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  for (const parley of clients.splice(0)) await parley.close();
});

async function connected(head: number) {
  const server = new FakeServer();
  const store = new MemoryStore();
  await store.saveGroup(kept(GROUP, head), Array.from({ length: head }, (_, n) => messageEntry(n + 1)), 0);
  server.welcome.groups = [standing(GROUP, head)];
  const parley = server.client({ store });
  clients.push(parley);
  await parley.connect();
  await settle();
  return { server, store, parley, group: parley.group(GROUP) };
}

test("what comes while a conversation is opened is in it, in its place", async () => {
  const { server, parley, group } = await connected(40);
  // The answer of the store is there, and not taken yet.
  const taking = gate();
  const { stored } = group;
  group.stored = async (limit) => {
    const found = await stored.call(group, limit);
    await taking.wait;
    return found;
  };
  const timeline = new Timeline(parley, group);
  await settle();
  server.socket.say("group_message", message(41));
  server.socket.say("group_event", rolledBack(42, "m40"));
  taking.open();
  await settle();
  expect(timeline.entries.map(({ data }) => data.seq)).toEqual(Array.from({ length: 42 }, (_, n) => n + 1));
  expect(timeline.entries[39]?.data).toMatchObject({ seq: 40, withheld: "rolled_back", text: undefined });
  expect(timeline.isLoaded).toBe(true);
  timeline.close();
});

/** Pages of the history, each answered when a test says so: with `from` to `to`. */
function pagesOf(group: Group) {
  const asked: (HistoryPage & { answer: (from: number, to: number) => Promise<void> })[] = [];
  group.history = (page = {}) =>
    new Promise<Messages>((resolve) => {
      const answer = (from: number, to: number) => {
        const messages = dense(from, to).map((seq) => message(seq));
        resolve({ messages, has_more: page.after_seq === undefined ? from > 1 : to < group.seq });
        return settle();
      };
      asked.push({ ...page, answer });
    });
  return asked;
}
const dense = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
const shown = (timeline: Timeline) => timeline.entries.map(({ data }) => data.seq);

/** A window on the beginning of a long conversation, far from its end. */
async function farBack() {
  const client = await connected(1_000);
  const timeline = new Timeline(client.parley, client.group);
  await settle();
  const asked = pagesOf(client.group);
  for (let from = 851; from > 300; from -= 50) {
    void timeline.loadOlder();
    await asked.at(-1)?.answer(from, from + 49);
  }
  expect([timeline.isDetached, shown(timeline)]).toEqual([true, dense(301, 700)]);
  return { ...client, timeline, asked };
}

test("a page that comes when the conversation is at its end again leaves no hole in it", async () => {
  const { timeline, asked } = await farBack();
  for (const load of [() => timeline.loadOlder(), () => timeline.loadNewer()]) {
    void load();
    const late = asked.at(-1);
    await timeline.load();
    expect([timeline.isLoading, shown(timeline)]).toEqual([false, dense(901, 1_000)]);
    await late?.answer((late.after_seq ?? 250) + 1, (late.after_seq ?? 250) + 50);
    expect([timeline.isDetached, timeline.isLoading, shown(timeline)]).toEqual([false, false, dense(901, 1_000)]);
    // Back again, for the other one.
    for (let from = 851; from > 300; from -= 50) {
      void timeline.loadOlder();
      await asked.at(-1)?.answer(from, from + 49);
    }
  }
  timeline.close();
});

test("a page that was asked for before the conversation went on elsewhere isn't mixed into it", async () => {
  const { server, parley, group } = await connected(1_000);
  const timeline = new Timeline(parley, group);
  await settle();
  const asked = pagesOf(group);
  void timeline.loadOlder();
  const elsewhere = { group_id: GROUP, from_seq: 5_001, to_seq: 5_000, complete: false, reset_reason: "limit" };
  server.socket.say("resumed", { groups: [elsewhere] });
  await settle();
  // The new window is short, so that its own page is asked for, though the former one is still on its way.
  expect(asked).toHaveLength(2);
  await asked[0]?.answer(851, 900);
  expect([timeline.isLoading, shown(timeline)]).toEqual([true, []]);
  await asked[1]?.answer(4_951, 5_000);
  expect(shown(timeline)).toEqual(dense(4_951, 5_000));
  timeline.close();
});

test("what is on its way isn't taken for sent because somebody else has used its id", async () => {
  const { server, parley, group } = await connected(40);
  const timeline = new Timeline(parley, group);
  await settle();
  void group.send({ text: "mine", client_message_id: "same" }).catch(() => {});
  await settle();
  server.socket.say("group_message", message(41, { sender: "bob", client_message_id: "same" }));
  expect(timeline.outgoing.map(({ item }) => item.text)).toEqual(["mine"]);
  server.socket.say("group_message", message(42, { sender: "ann", client_message_id: "same" }));
  expect(timeline.outgoing).toEqual([]);
  timeline.close();
});

test("the group in the address, whatever is written there", () => {
  expect(groupIn(`#${GROUP}`)).toBe(GROUP);
  expect(groupIn("#a%20b")).toBe("a b");
  for (const hash of ["", "#", "#%E0", "#%"]) expect(groupIn(hash)).toBeUndefined();
});
