// Builds the client into `dist`, which is committed: `parley` embeds it, and building `parley` needs no Node.
//   node build.mjs           writes dist
//   node build.mjs --check   fails when dist isn't what the sources give, or is too large
import { build } from "esbuild";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const at = (path) => new URL(path, import.meta.url);
const GZIP_BYTES_MAX = 150_000;

const built = await build({
  absWorkingDir: at(".").pathname,
  entryPoints: { app: "src/main.tsx", sw: "src/sw.ts", "app-css": "src/app.css" },
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  alias: { "@parley/sdk": at("../sdk/src/index.ts").pathname },
  legalComments: "none",
  write: false,
});
const files = new Map();
for (const { path, contents } of built.outputFiles) {
  const name = path.split("/").at(-1);
  files.set(name === "app-css.css" ? "app.css" : name, Buffer.from(contents));
}
for (const name of readdirSync(at("static"))) files.set(name, readFileSync(at(`static/${name}`)));

let gzipped = 0;
for (const content of files.values()) gzipped += gzipSync(content, { level: 9 }).length;
if (gzipped > GZIP_BYTES_MAX) throw new Error(`the client has ${gzipped} bytes gzipped, more than ${GZIP_BYTES_MAX}`);

if (process.argv.includes("--check")) {
  const known = readdirSync(at("dist"));
  const stale = [...files].filter(([name, content]) => !known.includes(name) || !readFileSync(at(`dist/${name}`)).equals(content));
  const left = known.filter((name) => !files.has(name));
  if (stale.length + left.length > 0) {
    console.error(`client/dist is stale (${[...stale.map(([name]) => name), ...left].join(", ")}): scripts/web build`);
    process.exit(1);
  }
} else {
  rmSync(at("dist"), { recursive: true, force: true });
  mkdirSync(at("dist"));
  for (const [name, content] of files) writeFileSync(at(`dist/${name}`), content);
  console.log(`client/dist: ${gzipped} bytes gzipped`);
}
