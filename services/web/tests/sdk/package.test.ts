// What is published, and what is committed though it is made.
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const run = promisify(execFile);
const WEB = fileURLToPath(new URL("../..", import.meta.url));
const SDK = join(WEB, "sdk");
/** "13 kB gzipped" says the README: bundled and minified. */
const SDK_GZIP_BYTES_MAX = 13_500;

test("the types are those of the schemas", async () => {
  await run("node", ["scripts/generate.mjs", "--check"], { cwd: SDK });
});

test("the committed client is what the sources build, and small", async () => {
  await run("node", ["build.mjs", "--check"], { cwd: join(WEB, "client") });
});

test("the SDK is as small as it is said to be", async () => {
  const entryPoints = [join(SDK, "src/index.ts")];
  const built = await build({ entryPoints, bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "none", write: false });
  const bytes = built.outputFiles.map(({ contents }) => gzipSync(contents, { level: 9 }).length);
  expect(bytes).toHaveLength(1);
  expect(bytes[0]).toBeLessThan(SDK_GZIP_BYTES_MAX);
});

test("the package holds what it needs, runs on plain Node, and publint has nothing to say", async () => {
  const to = mkdtempSync(join(tmpdir(), "parley-pack-"));
  try {
    await run("npm", ["pack", "--pack-destination", to], { cwd: SDK });
    const [tarball] = readdirSync(to);
    const archive = join(to, tarball ?? "");
    const { stdout: list } = await run("tar", ["-tf", archive]);
    const files = list.trim().split("\n");
    expect(files).toContain("package/README.md");
    expect(files).toContain("package/dist/index.js");
    expect(files).toContain("package/dist/index.d.ts");
    expect(files.filter((file) => !/^package\/(dist\/.*\.(js|d\.ts)|README\.md|package\.json|LICENSE)$/.test(file))).toEqual([]);
    await run(join(WEB, "node_modules/.bin/publint"), ["--strict", archive], { cwd: WEB });
    await run("tar", ["-xf", archive, "-C", to]);
    const manifest = JSON.parse(readFileSync(join(to, "package/package.json"), "utf8")) as Record<string, unknown>;
    expect(manifest["dependencies"]).toBeUndefined();
    const code = "import('./package/dist/index.js').then((sdk) => console.log(typeof sdk.Parley))";
    const { stdout } = await run("node", ["-e", code], { cwd: to });
    expect(stdout.trim()).toBe("function");
  } finally {
    rmSync(to, { recursive: true, force: true });
  }
});

test("nothing in the client turns text into markup", () => {
  const folder = join(WEB, "client/src");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name));
  expect(files.length).toBeGreaterThan(10);
  const sinks = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/;
  expect(files.filter((name) => sinks.test(readFileSync(join(folder, name), "utf8")))).toEqual([]);
});
