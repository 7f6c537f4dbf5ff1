// What is written stays until somebody else has it.
import { afterEach, expect, test } from "vitest";
import { MemoryStore, OUTBOX_MAX, type Parley } from "@parley/sdk";
import { Draft, draftOf } from "../../client/src/model/draft.ts";
import { FakeServer, gate, GROUP, kept, settle, standing } from "../lib/fake.ts";

const clients: Parley[] = [];
afterEach(async () => {
  for (const parley of clients.splice(0)) await parley.close();
});

async function offline() {
  const server = new FakeServer();
  const store = new MemoryStore();
  await store.saveGroup(kept(GROUP, 4), [], 0);
  server.welcome.groups = [standing(GROUP, 4)];
  const parley = server.client({ store });
  clients.push(parley);
  await parley.load();
  return { store, parley, group: parley.group(GROUP) };
}
const file = () => new File(["a picture"], "hills.png", { type: "image/png" });

test("what was given to the outbox is gone from the draft, also while it waits", async () => {
  const { parley, group } = await offline();
  const draft = new Draft();
  draft.set("  Shall we? ", file());
  void draft.send(group);
  expect([draft.text, draft.file]).toEqual(["", undefined]);
  await settle();
  expect(parley.outbox.items).toMatchObject([{ text: "Shall we?", type: "image" }]);
  expect(draft.text).toBe("");
  draft.set("   ", undefined);
  void draft.send(group);
  await settle();
  expect(parley.outbox.items).toHaveLength(1);
});

test("what the store can't take comes back, before what was begun since", async () => {
  const { store, group } = await offline();
  const storing = gate();
  store.putOutbox = async () => {
    await storing.wait;
    throw new Error("the disk is full");
  };
  const draft = new Draft();
  const picture = file();
  draft.set("Shall we?", picture);
  const first = draft.send(group);
  draft.set("And then", undefined);
  let changes = 0;
  draft.on("changed", () => (changes += 1));
  storing.open();
  expect(await first).toBe("the disk is full");
  expect([draft.text, draft.file, changes]).toEqual(["Shall we?\nAnd then", picture, 1]);
});

test("what finds no room in the outbox comes back", async () => {
  const { group } = await offline();
  for (let n = 0; n < OUTBOX_MAX; n += 1) void group.send({ text: `${n}` }).catch(() => {});
  const draft = new Draft();
  draft.set("one too many", undefined);
  expect(await draft.send(group)).toContain("wait already");
  expect(draft.text).toBe("one too many");
});

test("each user has drafts of its own", async () => {
  const { group } = await offline();
  draftOf("ann", group).set("Dear Bob", undefined);
  expect([draftOf("ann", group).text, draftOf("bob", group).text]).toEqual(["Dear Bob", ""]);
});
