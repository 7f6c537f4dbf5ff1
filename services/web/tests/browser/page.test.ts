// The page itself: its policy, who gets tokens, how it is used without a mouse or a screen, how it looks.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Browser, Page } from "playwright-core";
import { drawPicture, launch, Person } from "../lib/browser.ts";
import { client, endClients, until } from "../lib/client.ts";
import { Server } from "../lib/server.ts";

let browser: Browser;
let server: Server;
const people: Person[] = [];
beforeAll(async () => {
  server = await Server.start(["limits.sends_per_second=0"]);
  browser = await launch();
});
afterEach(async () => {
  await endClients();
  for (const person of people.splice(0)) await person.context.close();
});
afterAll(async () => {
  await browser?.close();
  await server?.end();
});

async function arrive(user: string, options: Parameters<typeof Person.arrive>[2] = {}): Promise<Person> {
  const person = await Person.arrive(browser, user, options);
  people.push(person);
  return person;
}

/** A conversation as people have it. */
async function conversation(user: string): Promise<void> {
  const others = { bob: "Bob Okafor", cat: "Cat Lindqvist", [user]: "Ann Lee" };
  const clients = new Map(Object.keys(others).map((id) => [id, client(server, id)]));
  for (const [id, parley] of clients) {
    await parley.connect();
    await parley.profiles.update({ display_name: others[id as keyof typeof others] ?? id });
  }
  const own = clients.get(user);
  if (!own) throw new Error("nobody");
  const walk = await own.createGroup({ name: "Sunday walk", members: ["bob", "cat"] });
  const say = async (who: string, text: string) => {
    const parley = clients.get(who);
    await until("it is there", () => parley?.groups.some((group) => group.id === walk.id && group.isLive) ?? false);
    await parley?.group(walk.id).send({ text });
  };
  await own.createGroup({ name: "Release crew", members: ["bob"] }).then((group) => group.send({ text: "The build is green again." }));
  const book = await clients.get("cat")?.createGroup({ name: "Book club", members: [user, "bob"] });
  await book?.send({ text: "Next one: “The Left Hand of Darkness”. Who has a copy?" });
  await book?.send({ text: "I can lend mine." });
  await say("bob", "Morning! Is anybody up for the ridge on Sunday?");
  await say("bob", "Weather says sun until four.");
  await say(user, "I'm in. Shall we meet at the station at nine?");
  await say("cat", "Nine is early for a Sunday… but yes.");
  await say(user, "I'll bring coffee, then.");
  await say("cat", "Now we're talking.");
  await until("all have all", () => [...clients.values()].every((parley) => parley.group(walk.id).seq === 7));
  for (const parley of clients.values()) parley.group(walk.id).markRead();
  await until("all of it is read", async () => (await walk.members()).members.every((member) => member.read_seq === 7));
}

async function axe(page: Page): Promise<string[]> {
  const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  // Not as a script element: the page's policy wouldn't have it.
  await page.evaluate(source);
  const results = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { target: unknown[]; failureSummary: string }[] }[] }> } };
    return (await axe.run()).violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.map((node) => `${String(node.target)}: ${node.failureSummary}`) }));
  });
  const serious = results.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, where }) => `${id}\n${where.join("\n")}`);
}

test("the files come with their types, a strict policy, and are asked for again only when they changed", async () => {
  const kinds = { "/": "text/html", "/app.js": "text/javascript", "/app.css": "text/css", "/sw.js": "text/javascript", "/icon.svg": "image/svg+xml", "/manifest.webmanifest": "application/manifest+json" };
  for (const [path, kind] of Object.entries(kinds)) {
    const response = await fetch(server.url + path);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain(kind);
    const policy = response.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
    expect(policy).toContain("require-trusted-types-for 'script'");
    expect(policy).not.toContain("unsafe");
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
    expect(response.headers.get("cache-control")).toBe("no-cache");
    const tag = response.headers.get("etag") ?? "";
    expect((await fetch(server.url + path, { headers: { "If-None-Match": tag } })).status).toBe(304);
  }
  const missing = await fetch(`${server.url}/nothing-here`);
  expect(missing.status).toBe(404);
});

test("tokens are made for the server's own page on this machine, and for nobody else", async () => {
  const ask = (headers: Record<string, string>, body = JSON.stringify({ user_id: "ann" })) =>
    new Promise<number>((resolve, reject) => {
      const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers } };
      const request = httpRequest(`${server.url}/dev/token`, options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on("error", reject);
      request.end(body);
    });
  const host = `127.0.0.1:${server.port}`;
  expect(await ask({ Origin: `http://${host}` })).toBe(200);
  expect(await ask({})).toBe(200);
  expect(await ask({ Origin: "http://evil.example" })).toBe(403);
  // A name that was made to resolve to this machine.
  expect(await ask({ Host: "evil.example", Origin: "http://evil.example" })).toBe(403);
  expect(await ask({}, "{}")).toBe(400);
  expect(await ask({ "Content-Type": "text/plain" })).toBe(400);
  const configured = await Server.start([`auth.hs256_secret=${"s".repeat(32)}`]);
  try {
    expect((await fetch(`${configured.url}/dev/token`)).status).toBe(404);
    const person = await arrive("nobody");
    await person.page.goto(configured.url);
    await person.page.getByLabel("Your token").waitFor();
  } finally {
    await configured.end();
  }
});

test("the policy holds in the browser: nothing inline runs, and text can't become markup", async () => {
  const person = await arrive("ann");
  await person.page.goto(server.url);
  await person.page.getByLabel("Who are you?").waitFor();
  const refused = await person.page.evaluate(() => {
    const refusals: string[] = [];
    document.addEventListener("securitypolicyviolation", (event) => refusals.push(event.effectiveDirective));
    try {
      document.body.insertAdjacentHTML("beforeend", "<img src=x>");
    } catch (error) {
      refusals.push(String(error));
    }
    const style = document.createElement("style");
    style.textContent = "body { display: none }";
    document.head.append(style);
    return new Promise<string[]>((resolve) => requestAnimationFrame(() => setTimeout(() => resolve(refusals), 50)));
  });
  expect(refused.join()).toContain("TrustedHTML");
  expect(refused.join()).toContain("style-src-elem");
});

test("a browser that blocks site data says so, instead of showing nothing", async () => {
  const person = await arrive("ann");
  await person.page.addInitScript(() => {
    const get = () => {
      throw new DOMException("denied", "SecurityError");
    };
    for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, { get });
    IDBFactory.prototype.open = get;
  });
  await person.page.goto(server.url);
  await person.page.getByLabel("Who are you?").fill("ann");
  await person.page.getByRole("button", { name: "Sign in", exact: true }).click();
  await person.page.getByText("This browser keeps no data for the page: denied").waitFor();
  expect(person.complaints).toEqual([]);
});

test("no serious fault for those who use it otherwise: sign in, conversation, dialogs; light and dark", async () => {
  await conversation("ann");
  for (const colorScheme of ["light", "dark"] as const) {
    const ann = await arrive("ann", { colorScheme });
    await ann.page.goto(server.url);
    await ann.page.getByLabel("Who are you?").waitFor();
    expect(await axe(ann.page)).toEqual([]);
    await ann.shot(`sign-in-${colorScheme}`);
    await ann.signIn(server.url);
    await ann.open("Sunday walk");
    await ann.message("Now we're talking.").waitFor();
    const buffer = await drawPicture(ann.page);
    const caption = colorScheme === "light" ? "The ridge, last year:" : "And in the evening:";
    await ann.page.locator("input[type=file]").setInputFiles({ name: "ridge.png", mimeType: "image/png", buffer });
    await ann.write(caption);
    await ann.message(caption).locator("button.mark").waitFor();
    await ann.message(caption).locator("img").waitFor();
    expect(await axe(ann.page)).toEqual([]);
    await ann.shot(`conversation-${colorScheme}`);
    await ann.page.getByRole("button", { name: "Members and settings" }).click();
    await ann.page.getByRole("dialog").locator("li", { hasText: "Bob Okafor" }).waitFor();
    expect(await axe(ann.page)).toEqual([]);
    await ann.shot(`members-${colorScheme}`);
    await ann.page.keyboard.press("Escape");
    expect(ann.complaints).toEqual([]);
  }
});

test("a phone shows one thing at a time, and nothing sticks out", async () => {
  const cat = client(server, "cat");
  await cat.connect();
  await cat.createGroup({ name: "Pocket", members: ["dee"] }).then(async (group) => {
    for (let n = 1; n <= 12; n += 1) await group.send({ text: n % 3 ? `Note ${n}` : `A longer note, number ${n}, that must wrap in a narrow window` });
  });
  const dee = await arrive("dee", { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true });
  await dee.signIn(server.url);
  await dee.shot("phone-groups");
  const wide = () => dee.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(await wide()).toBeLessThanOrEqual(0);
  await dee.open("Pocket");
  await dee.message("Note 11").waitFor();
  expect(await wide()).toBeLessThanOrEqual(0);
  expect(await dee.page.getByRole("navigation", { name: "Groups" }).isVisible()).toBe(false);
  await dee.shot("phone-conversation");
  expect(await axe(dee.page)).toEqual([]);
  await dee.page.getByRole("button", { name: "Show the log" }).click();
  await dee.page.getByRole("complementary", { name: "The log" }).waitFor();
  await dee.shot("phone-log");
  await dee.page.getByRole("button", { name: "Hide the log" }).click();
  await dee.page.getByRole("button", { name: "Back to the groups" }).click();
  await dee.page.getByRole("navigation", { name: "Groups" }).waitFor();
});

test("the keyboard is enough: a group made, a message sent, a dialog left", async () => {
  const eve = await arrive("eve");
  const { page } = eve;
  await page.goto(server.url);
  await page.getByLabel("Who are you?").waitFor();
  await page.keyboard.type("eve");
  await page.keyboard.press("Enter");
  await page.getByRole("navigation", { name: "Groups" }).waitFor();
  const focused = (name: string) => page.evaluate((name) => document.activeElement?.getAttribute("aria-label") === name, name);
  for (let n = 0; n < 10 && !(await focused("New group")); n += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "New group" }).waitFor();
  await page.keyboard.type("By keys");
  await page.keyboard.press("Enter");
  await page.getByRole("main", { name: "By keys" }).waitFor();
  const inComposer = () => page.evaluate(() => document.activeElement?.tagName === "TEXTAREA");
  for (let n = 0; n < 20 && !(await inComposer()); n += 1) await page.keyboard.press("Tab");
  await page.keyboard.type("no mouse");
  await page.keyboard.press("Enter");
  await eve.message("no mouse").locator(".mark").waitFor();
});

test("long histories come by scrolling, and the page holds only a window of them", { timeout: 180_000 }, async () => {
  const cat = client(server, "cat");
  await cat.connect();
  const group = await cat.createGroup({ name: "Annals", members: ["fay"] });
  await Promise.all(Array.from({ length: 700 }, (_, n) => group.send({ text: `line ${n + 1}` })));
  const fay = await arrive("fay");
  await fay.signIn(server.url);
  await fay.open("Annals");
  await fay.message("line 700").waitFor();
  const scroller = fay.page.getByRole("log", { name: "Messages" });
  await until(
    "the first one is there",
    async () => {
      await scroller.evaluate((element) => (element.scrollTop = 0));
      return fay.message("line 1").isVisible();
    },
    60_000,
  );
  expect(await fay.page.locator(".message").count()).toBeLessThanOrEqual(400);
  const shown = (await fay.texts()).map((text) => Number(text.split(" ")[1]));
  expect(shown).toEqual(shown.map((_, at) => (shown[0] ?? 0) + at));
  // And back: what was let go comes again.
  await until(
    "later ones are there",
    async () => {
      await scroller.evaluate((element) => (element.scrollTop = element.scrollHeight));
      return fay.message("line 500").isVisible();
    },
    60_000,
  );
  expect(await fay.page.locator(".message").count()).toBeLessThanOrEqual(400);
  await scroller.evaluate((element) => (element.scrollTop = element.scrollHeight / 2));
  await fay.page.getByRole("button", { name: "To the newest message" }).click();
  await fay.message("line 700").waitFor();
  expect(await fay.page.locator(".message").count()).toBeLessThanOrEqual(400);
});

test("a token that ends is replaced without anybody noticing", async () => {
  const gil = await arrive("gil");
  // The page asks for an hour; the test gives it some seconds.
  await gil.page.route("**/dev/token", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    await route.fulfill({ json: { token: await server.token("gil", "4s"), expires_at: "" } });
  });
  const authentications: string[] = [];
  gil.page.on("websocket", (socket) => {
    authentications.push("socket");
    socket.on("framereceived", ({ payload }) => String(payload).includes('"event":"authenticated"') && authentications.push("token"));
  });
  await gil.signIn(server.url);
  await gil.createGroup("Tokens", "");
  await until("three tokens", () => authentications.filter((one) => one === "token").length >= 3);
  expect(authentications.filter((one) => one === "socket")).toHaveLength(1);
  await gil.write("still here");
  await gil.message("still here").locator(".mark").waitFor();
});

/** Half a second of a tone. */
function tone(): Buffer {
  const samples = 4_000;
  const wav = Buffer.alloc(44 + samples);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + samples, 4);
  wav.write("WAVEfmt ", 8);
  for (const [value, at] of [[16, 16], [8_000, 24], [8_000, 28], [samples, 40]] as const) wav.writeUInt32LE(value, at);
  for (const [value, at] of [[1, 20], [1, 22], [1, 32], [8, 34]] as const) wav.writeUInt16LE(value, at);
  wav.write("data", 36);
  for (let at = 0; at < samples; at += 1) wav[44 + at] = 128 + Math.round(60 * Math.sin(at / 3));
  return wav;
}

/** Some frames, recorded by the browser itself. */
async function film(page: Page): Promise<Buffer> {
  const base64 = await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
    const parts: Blob[] = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    for (let frame = 0; frame < 20; frame += 1) {
      context?.fillRect(frame * 10, 40, 30, 30);
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    recorder.stop();
    await stopped;
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  });
  return Buffer.from(base64, "base64");
}

test("video and audio can be played by whoever gets them", async () => {
  const [hal, ida] = [await arrive("hal"), await arrive("ida")];
  await Promise.all([hal.signIn(server.url), ida.signIn(server.url)]);
  await hal.createGroup("Sounds", "ida");
  await ida.open("Sounds");
  const files = [
    { name: "tone.wav", mimeType: "audio/wav", buffer: tone() },
    { name: "film.webm", mimeType: "video/webm", buffer: await film(hal.page) },
  ];
  for (const file of files) {
    await hal.page.locator("input[type=file]").setInputFiles(file);
    await hal.write(file.name);
    const element = ida.message(file.name).locator(file.mimeType.startsWith("audio") ? "audio" : "video");
    await element.waitFor();
    await until("it can be played", () => element.evaluate((media: HTMLMediaElement) => media.readyState >= 1 && media.error === null));
  }
  expect([...hal.complaints, ...ida.complaints]).toEqual([]);
});
