// One connection over sockets that do what a test says: tokens, clocks, close codes, and who may ask when.
import { afterEach, expect, test, vi } from "vitest";
import { ParleyError, type Parley, type ParleyOptions, type StateChange } from "@parley/sdk";
import { FakeServer, settle } from "../lib/fake.ts";

const FAKED: ("setTimeout" | "clearTimeout" | "Date")[] = ["setTimeout", "clearTimeout", "Date"];
const clients: Parley[] = [];
afterEach(async () => {
  for (const parley of clients.splice(0)) await parley.close();
  vi.useRealTimers();
});

function make(options: Partial<ParleyOptions> = {}, server = new FakeServer()): { server: FakeServer; parley: Parley } {
  const parley = server.client(options);
  clients.push(parley);
  return { server, parley };
}

test("a clock that is ahead of the token's end costs no more tokens than one that is right", async () => {
  vi.useFakeTimers({ toFake: FAKED });
  const { server, parley } = make();
  // The token lives 10 minutes, and this machine's clock is 2 hours ahead of the server's.
  const serverNow = () => Date.now() - 2 * 3_600_000;
  server.welcome.server_time = new Date(serverNow()).toISOString();
  server.expiresAt = new Date(serverNow() + 600_000).toISOString();
  await parley.connect();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(server.tokens).toBe(1);
  await vi.advanceTimersByTimeAsync(600_000 - 30_000 - 60_000 + 1_000);
  expect(server.tokens).toBe(2);
});

test("tokens that are at their end when they come aren't asked for in a loop", async () => {
  vi.useFakeTimers({ toFake: FAKED });
  const { server, parley } = make();
  server.expiresAt = new Date(Date.now() - 5_000).toISOString();
  await parley.connect();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(server.tokens).toBeLessThanOrEqual(10);
});

test("a getToken that never settles is given up, and asked again", async () => {
  vi.useFakeTimers({ toFake: FAKED });
  let calls = 0;
  const server = new FakeServer();
  const getToken = () => ((calls += 1) === 1 ? new Promise<string>(() => {}) : server.token());
  const { parley } = make({ getToken, random: () => 0.5, times: { tokenTimeoutMs: 5_000 } }, server);
  const errors: ParleyError[] = [];
  parley.on("error", (error) => errors.push(error));
  const connecting = parley.connect();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(errors).toMatchObject([{ code: "token", retryable: true }]);
  await vi.advanceTimersByTimeAsync(1_000);
  await connecting;
  expect([parley.state, calls]).toEqual(["connected", 2]);
});

test("what is asked of a socket that isn't open yet is refused at once, and costs no connection", async () => {
  vi.useFakeTimers({ toFake: FAKED });
  const { server, parley } = make({ times: { requestTimeoutMs: 1_000, connectTimeoutMs: 60_000 } });
  server.opens = false;
  const changes: StateChange[] = [];
  parley.on("state", (change) => changes.push(change));
  const connecting = parley.connect();
  await vi.advanceTimersByTimeAsync(0);
  expect(server.sockets).toHaveLength(1);
  server.routes["POST /v1/groups"] = (body) => ({ ...body, epoch: "e1", head_seq: 1, members: [] });
  // Tells the server of it, if there is a connection.
  await parley.createGroup({ name: "Early", members: [] });
  server.socket.open();
  await connecting;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(changes.map(({ state }) => state)).toEqual(["connecting", "connected"]);
  expect(server.sockets).toHaveLength(1);
});

test.each([
  [3000, "connecting", undefined],
  [3499, "connecting", undefined],
  [3500, "disconnected", "unauthenticated"],
  [3501, "disconnected", "protocol_violation"],
  [3504, "disconnected", "too_many_connections"],
  [3999, "disconnected", "closed"],
  [4000, "disconnected", "closed"],
  [4999, "disconnected", "closed"],
])("close code %i goes by its range: %s", async (code, state, name) => {
  const { server, parley } = make();
  await parley.connect();
  const change = new Promise<StateChange>((resolve) => parley.on("state", resolve));
  server.socket.end(code);
  const { error, ...rest } = await change;
  expect(rest).toMatchObject({ state, code });
  expect(error?.code).toBe(name);
});

test("a token of another user is wrong_user, and isn't used again", async () => {
  const { server, parley } = make();
  server.welcome.user_id = "bob";
  const errors: ParleyError[] = [];
  parley.on("error", (error) => errors.push(error));
  await expect(parley.connect()).rejects.toMatchObject({ code: "wrong_user" });
  await settle();
  expect(errors.map(({ code }) => code)).toEqual(["wrong_user"]);
  server.welcome.user_id = "ann";
  await parley.connect();
  expect(new Set(server.asked("authenticate").map(({ token }) => token)).size).toBe(2);
});

test("a read is tried again soon or not at all: who asked is told of a long wait", async () => {
  const { server, parley } = make();
  await parley.connect();
  await settle();
  let answers = [408, 200];
  server.routes["GET /v1/groups"] = () => {
    const status = answers.shift() ?? 503;
    return status === 200 ? { groups: [] } : new Response("", { status, headers: { "Retry-After": status === 503 ? "3600" : "0" } });
  };
  await parley.refresh();
  expect(answers).toEqual([]);
  answers = [];
  await expect(parley.refresh()).rejects.toMatchObject({ code: "unavailable", retryable: true, retryAfterMs: 3_600_000 });
});
