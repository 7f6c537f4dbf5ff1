// A network that can be broken: a TCP proxy before the server.
import { connect, createServer, type Server, type Socket } from "node:net";

export type Mode =
  /** Everything passes. */
  | "open"
  /** Nobody is let in. */
  | "refuse"
  /** Connections stand, and nothing passes: what a half-open connection looks like. */
  | "silent";

interface Pair {
  client: Socket;
  server: Socket;
}

export class Proxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #to: number;
  #mode: Mode = "open";
  port = 0;
  /** Connections taken so far. */
  taken = 0;

  private constructor(to: number) {
    this.#to = to;
    this.#server = createServer((client) => this.#take(client));
  }

  /** `port` 0 picks one. */
  static async start(to: number, port = 0): Promise<Proxy> {
    const proxy = new Proxy(to);
    await new Promise<void>((resolve) => proxy.#server.listen(port, "127.0.0.1", resolve));
    const address = proxy.#server.address();
    proxy.port = typeof address === "object" && address ? address.port : 0;
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  #take(client: Socket): void {
    if (this.#mode === "refuse") {
      client.resetAndDestroy();
      return;
    }
    this.taken += 1;
    const server = connect(this.#to, "127.0.0.1");
    const pair = { client, server };
    this.#pairs.add(pair);
    const pass = (from: Socket, to: Socket) => {
      from.on("data", (chunk) => {
        if (this.#mode !== "silent") to.write(chunk);
      });
      from.on("end", () => this.#mode !== "silent" && to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#pairs.delete(pair);
        if (this.#mode !== "silent") to.destroy();
      });
    };
    pass(client, server);
    pass(server, client);
  }

  set mode(mode: Mode) {
    this.#mode = mode;
  }

  /** Breaks what stands. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  async end(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
