// For work on the client without building Rust: serves what is built, makes tokens, and passes everything else on to a
// binary that may be older than the client.
//   PARLEY=path/to/parley node dev.mjs [PORT]        builds on every load; data in a directory of its own that is kept
import { execFile, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const KINDS = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml", webmanifest: "application/manifest+json" };
const here = new URL(".", import.meta.url).pathname;

/** Stands before a server on `backend`. The policy is that of `services/parley/src/web/files.rs`. */
export function front({ backend, parley, data, publicUrl, onPage = () => {} }) {
  const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: ${publicUrl}; media-src 'self' blob: ${publicUrl}; connect-src 'self' ${publicUrl}; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types parley`;

  function file(path, response) {
    const name = path === "/" ? "index.html" : path.slice(1);
    if (name === "index.html") onPage();
    const content = readFileSync(new URL(`dist/${name}`, import.meta.url));
    const headers = { "Content-Type": KINDS[name.split(".").at(-1)], "Cache-Control": "no-store", "Content-Security-Policy": policy };
    response.writeHead(200, headers).end(content);
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

  const server = createServer((incoming, response) => {
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
  server.on("upgrade", ({ method, url, rawHeaders }, socket, head) => {
    const to = connect(backend, "127.0.0.1");
    const lines = [`${method} ${url} HTTP/1.1`];
    for (let at = 0; at < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
    to.write(`${lines.join("\r\n")}\r\n\r\n`);
    to.write(head);
    to.pipe(socket).pipe(to);
    for (const one of [to, socket]) {
      one.on("error", () => {});
      one.on("close", () => (to.destroy(), socket.destroy()));
    }
  });
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 8090);
  const backend = port + 1;
  const parley = process.env.PARLEY ?? join(here, "../../../target/release/parley");
  const data = process.env.DATA ?? join(tmpdir(), "parley-dev");
  const publicUrl = `http://127.0.0.1:${port}`;
  const set = [`http.origins=["${publicUrl}"]`, `http.public_url=${publicUrl}`];
  const flags = set.flatMap((one) => ["--set", one]);
  const server = spawn(parley, ["serve", "--data", data, "--listen", `127.0.0.1:${backend}`, ...flags], { stdio: "inherit" });
  process.on("exit", () => server.kill());
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
  const onPage = () => execFileSync("node", ["build.mjs"], { cwd: here, stdio: "inherit" });
  front({ backend, parley, data, publicUrl, onPage }).listen(port, "127.0.0.1", () => console.log(publicUrl));
}
