// The real binary, on a data directory of its own.
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const ROOT = resolve(fileURLToPath(new URL("../../../..", import.meta.url)));

/** Where the binary is: `PARLEY_BINARY`, or what cargo built. */
export function binary(): string {
  const path = process.env["WEB_PARLEY_BINARY"] ?? join(ROOT, "target/release/parley");
  if (!existsSync(path)) throw new Error(`${path} isn't there: cargo build --release --locked -p parley`);
  return path;
}

/** A port that is free now; so that a server comes back where it was. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      const port = typeof address === "object" && address ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

export class Server {
  readonly data: string;
  readonly port: number;
  readonly #set: string[];
  /** Where the binary listens: behind `port`, if the client is served apart from it. */
  readonly #listen: number;
  #front: HttpServer | undefined;
  #process: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** Standard error, the end of it, for when a test fails. */
  log = "";

  private constructor(data: string, port: number, listen: number, set: string[]) {
    this.data = data;
    this.port = port;
    this.#listen = listen;
    this.#set = set;
  }

  static async start(set: string[] = []): Promise<Server> {
    const port = await freePort();
    const isApart = process.env["WEB_CLIENT_APART"] !== undefined;
    const server = new Server(mkdtempSync(join(tmpdir(), "parley-web-")), port, isApart ? await freePort() : port, set);
    if (isApart) await server.#serveApart();
    await server.start();
    return server;
  }

  /** For work on the client with an older binary (client/dev.mjs). What the binary itself says of the files isn't tested then. */
  async #serveApart(): Promise<void> {
    const { front } = (await import("../../client/dev.mjs" as string)) as { front: (options: object) => HttpServer };
    const publicUrl = this.#set.find((one) => one.startsWith("http.public_url="))?.split("=")[1] ?? this.url;
    const origins = JSON.parse(this.#set.find((one) => one.startsWith("http.origins="))?.split("=")[1] ?? "[]") as string[];
    this.#set.push(`http.public_url=${publicUrl}`, `http.origins=${JSON.stringify([...origins, this.url, publicUrl])}`);
    this.#front = front({ backend: this.#listen, parley: binary(), data: this.data, publicUrl });
    await new Promise<void>((resolve) => this.#front?.listen(this.port, "127.0.0.1", resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const flags = this.#set.flatMap((one) => ["--set", one]);
    const listen = `127.0.0.1:${this.#listen}`;
    const child = spawn(binary(), ["serve", "--data", this.data, "--listen", listen, ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.#exited = new Promise((resolve) => child.once("exit", () => resolve()));
    child.stderr.on("data", (chunk: Buffer) => (this.log = (this.log + chunk.toString()).slice(-20_000)));
    await new Promise<void>((resolve, reject) => {
      let out = "";
      child.stdout.on("data", (chunk: Buffer) => {
        out += chunk.toString();
        if (out.includes("listening on")) resolve();
      });
      child.once("exit", (code) => reject(new Error(`parley ended with ${code}: ${this.log}`)));
    });
  }

  /** SIGTERM: it drains. */
  async stop(): Promise<void> {
    this.#process?.kill("SIGTERM");
    await this.#exited;
  }

  /** As a crash. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#exited;
  }

  /** Stops in the middle of everything, as a machine that hangs. */
  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }
  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  async token(user: string, ttl = "1h"): Promise<string> {
    const { stdout } = await promisify(execFile)(binary(), ["token", "--user", user, "--ttl", ttl, "--data", this.data]);
    return stdout.trim();
  }

  async end(): Promise<void> {
    this.thaw();
    await this.kill();
    this.#front?.close();
    this.#front?.closeAllConnections();
    rmSync(this.data, { recursive: true, force: true });
  }
}
