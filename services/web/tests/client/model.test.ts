// What is on the screen of a conversation, as values.
import { afterEach, expect, test } from "vitest";
import { MemoryStore, type Parley } from "@parley/sdk";
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
