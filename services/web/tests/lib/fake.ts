// A server that says what a test tells it to say: for what no real one does, or not in the moment that matters.
import { MemoryStore, Parley, type Entry, type GroupRecord, type MessageBody, type ParleyOptions, type Welcome } from "@parley/sdk";

export const GROUP = "01900000-0000-7000-8000-000000000001";
export const OTHER_GROUP = "01900000-0000-7000-8000-000000000002";
export const EPOCH = "e1";

type Data = Record<string, unknown>;
interface Heard {
  event: string;
  id?: string;
  data: Data;
}
/** What answers a request: the reply's name and data, or nothing. */
type Answer = (data: Data) => [event: string, data: unknown] | undefined;
/** What answers an HTTP request: its body, or a response. */
type Route = (body: Data, path: string) => unknown;

class FakeSocket {
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #fake: FakeServer;

  constructor(fake: FakeServer) {
    this.#fake = fake;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Heard;
    this.#fake.heard.push(frame);
    queueMicrotask(() => this.#fake.answer(this, frame));
  }

  say(event: string, data: unknown, id?: string): void {
    this.onmessage?.({ data: JSON.stringify({ event, id, data }) });
  }

  /** From this side: the other one isn't told again. */
  close(): void {
    this.readyState = 3;
  }

  /** From the server's side. */
  end(code: number): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  /** Every frame that came, over all sockets. */
  readonly heard: Heard[] = [];
  /** Whether sockets open by themselves. */
  opens = true;
  tokens = 0;
  welcome: Welcome = {
    session_id: "s",
    user_id: "ann",
    epoch: EPOCH,
    server_time: new Date().toISOString(),
    limits: {
      sends_per_second: 20,
      send_burst: 60,
      text_bytes: 16_384,
      frame_bytes: 65_536,
      group_members: 100_000,
      user_groups: 2_000,
      media_bytes: 104_857_600,
      outbox_bytes: 1_048_576,
      user_sockets: 20,
    },
    groups: [],
  };
  expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  readonly answers: Record<string, Answer> = {
    ping: () => ["pong", { server_time: this.welcome.server_time }],
    resume: ({ groups }) => [
      "resumed",
      {
        groups: (groups as { group_id: string; after_seq: number }[]).map(({ group_id, after_seq }) => ({
          group_id,
          from_seq: after_seq + 1,
          to_seq: after_seq,
          complete: true,
        })),
      },
    ],
  };
  /** By method and the beginning of the path. */
  readonly routes: Record<string, Route> = {
    "GET /v1/groups": () => ({ groups: [] }),
    "PUT /object/": () => ({}),
  };

  get socket(): FakeSocket {
    const last = this.sockets.at(-1);
    if (!last) throw new Error("nobody has connected");
    return last;
  }

  /** The next one, as far as a client looks into it. */
  token(): string {
    const claims = { jti: (this.tokens += 1), exp: Date.parse(this.expiresAt) / 1_000 };
    return `header.${btoa(JSON.stringify(claims))}.signature`;
  }

  /** A client of it. */
  client(options: Partial<ParleyOptions> = {}): Parley {
    const server = this;
    return new Parley("http://fake.test", {
      user: "ann",
      store: new MemoryStore(),
      getToken: () => this.token(),
      WebSocket: function () {
        const socket = new FakeSocket(server);
        server.sockets.push(socket);
        if (server.opens) queueMicrotask(() => socket.open());
        return socket;
      } as never,
      fetch: (async (url: URL | string, init: RequestInit) => this.#fetch(new URL(url), init)) as typeof fetch,
      ...options,
    });
  }

  /** The data of all frames of a kind. */
  asked(event: string): Data[] {
    return this.heard.filter((frame) => frame.event === event).map(({ data }) => data);
  }

  answer(socket: FakeSocket, { event, id, data }: Heard): void {
    if (event === "authenticate" && !this.answers["authenticate"]) {
      const isFirst = this.welcomed !== socket;
      this.welcomed = socket;
      socket.say("authenticated", { expires_at: this.expiresAt }, id);
      if (isFirst) socket.say("welcome", this.welcome);
      return;
    }
    const answer = this.answers[event]?.(data);
    if (answer) socket.say(answer[0], answer[1], id);
  }
  private welcomed: FakeSocket | undefined;

  async #fetch(url: URL, init: RequestInit): Promise<Response> {
    const asked = `${init.method} ${url.pathname}`;
    const found = Object.keys(this.routes).filter((one) => asked.startsWith(one));
    const route = this.routes[found.sort((one, other) => other.length - one.length)[0] ?? ""];
    if (!route) throw new Error(`nobody answers ${asked}`);
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as Data) : {};
    if (init.body instanceof ReadableStream) await new Response(init.body).arrayBuffer();
    const givenUp = new Promise<never>((_, reject) => init.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
    const answer = await Promise.race([route(body, url.pathname), givenUp]);
    return answer instanceof Response ? answer : Response.json(answer);
  }
}

/** An error on the socket. */
export const refusal = (code: string, retryable = false): [string, unknown] => ["error", { code, message: code, retryable }];

export const standing = (group_id: string, head_seq: number, more: Data = {}) => ({
  group_id,
  head_seq,
  delivered_seq: head_seq,
  read_seq: head_seq,
  unread: 0,
  ...more,
});

/** A group that a device knows from before. */
export const kept = (group_id: string, seq: number): GroupRecord => ({
  group_id,
  epoch: EPOCH,
  seq,
  head_seq: seq,
  delivered_seq: seq,
  read_seq: seq,
  unread: 0,
});

export const message = (seq: number, more: Partial<MessageBody> = {}): MessageBody => ({
  group_id: GROUP,
  seq,
  epoch: EPOCH,
  position: { partition: 0, offset: seq },
  message_id: `m${seq}`,
  client_message_id: `c${seq}`,
  sender: "bob",
  type: "text",
  text: `t${seq}`,
  created_at: "2026-01-01T00:00:00.000Z",
  updated_at: "2026-01-01T00:00:00.000Z",
  ...more,
});

export const messageEntry = (seq: number, more: Partial<MessageBody> = {}): Entry => ({
  event: "group_message",
  data: message(seq, more),
  bytes: 1,
});

export const rolledBack = (seq: number, message_id: string) => ({
  group_id: GROUP,
  seq,
  epoch: EPOCH,
  position: { partition: 0, offset: seq },
  created_at: "2026-01-01T00:00:00.000Z",
  actor: "bob",
  kind: "message_rolled_back",
  message_id,
  reason: "media gone",
});

/** What the server says of a message that is in the log. */
export const accepted = ({ group_id, client_message_id }: Data, seq: number): [string, unknown] => [
  "group_message_accepted",
  {
    group_id,
    client_message_id,
    message_id: `m${seq}`,
    seq,
    epoch: EPOCH,
    position: { partition: 0, offset: seq },
    created_at: "2026-01-01T00:00:00.000Z",
    duplicate: false,
  },
];

/** Uploads get URLs by number; each PUT waits for its gate, if it has one. */
export function uploads(server: FakeServer, gates: Promise<void>[] = []): { count: () => number } {
  let count = 0;
  server.routes["POST /v1/media/uploads"] = () => {
    count += 1;
    const upload = { method: "PUT", url: `http://fake.test/object/${count}`, headers: {}, expires_at: "" };
    return { media_id: `media${count}`, media_url: `parley:media${count}`, upload };
  };
  server.routes["PUT /object/"] = async (_body, path) => {
    await gates[Number(path.split("/").at(-1)) - 1];
    return {};
  };
  return { count: () => count };
}
export const picture = () => new Blob(["a picture"], { type: "image/png" });

/** Something that ends when a test says so. */
export function gate(): { wait: Promise<void>; open: () => void } {
  let open = () => {};
  const wait = new Promise<void>((resolve) => (open = resolve));
  return { wait, open };
}

/** Lets everything run that is under way and waits for no timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
