// For work on the client without building Rust: builds on every load, serves it, makes tokens, and passes everything else on.
//   PARLEY=path/to/parley node dev.mjs [PORT]        data in a directory of its own that is kept
import { execFile, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const port = Number(process.argv[2] ?? 8090);
const backend = port + 1;
const parley = process.env.PARLEY ?? new URL("../../../target/release/parley", import.meta.url).pathname;
const data = process.env.DATA ?? join(tmpdir(), "parley-dev");
const here = new URL(".", import.meta.url).pathname;
const set = [`http.origins=["http://127.0.0.1:${port}"]`, `http.public_url=http://127.0.0.1:${port}`];
const flags = set.flatMap((one) => ["--set", one]);
const server = spawn(parley, ["serve", "--data", data, "--listen", `127.0.0.1:${backend}`, ...flags], { stdio: "inherit" });
process.on("exit", () => server.kill());
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));

const KINDS = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml", webmanifest: "application/manifest+json" };

function file(path, response) {
  const name = path === "/" ? "index.html" : path.slice(1);
  if (name === "index.html") execFileSync("node", ["build.mjs"], { cwd: here, stdio: "inherit" });
  const content = readFileSync(new URL(`dist/${name}`, import.meta.url));
  response.writeHead(200, { "Content-Type": KINDS[name.split(".").at(-1)], "Cache-Control": "no-store" }).end(content);
}

function token(incoming, response) {
  let body = "";
  incoming.on("data", (chunk) => (body += chunk));
  incoming.on("end", () => {
    if (incoming.method === "GET") return response.end("{}");
    execFile(parley, ["token", "--data", data, "--user", JSON.parse(body).user_id], (error, out) => {
      response.writeHead(error ? 500 : 200).end(JSON.stringify({ token: out.trim() }));
    });
  });
}

const front = createServer((incoming, response) => {
  const path = new URL(incoming.url ?? "/", "http://here").pathname;
  if (path === "/dev/token") return token(incoming, response);
  if (path === "/" || /^\/[a-z]+\.(js|css|svg|webmanifest)$/.test(path)) return file(path, response);
  const { method, headers, url } = incoming;
  const passed = request({ port: backend, host: "127.0.0.1", method, headers, path: url }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    answer.pipe(response);
  });
  passed.on("error", () => response.writeHead(503).end());
  incoming.pipe(passed);
});
front.on("upgrade", ({ method, url, rawHeaders }, socket, head) => {
  const to = connect(backend, "127.0.0.1");
  const lines = [`${method} ${url} HTTP/1.1`];
  for (let at = 0; at < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
  to.write(`${lines.join("\r\n")}\r\n\r\n`);
  to.write(head);
  to.pipe(socket).pipe(to);
  for (const one of [to, socket]) one.on("error", () => (to.destroy(), socket.destroy()));
});
front.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
