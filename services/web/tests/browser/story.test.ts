// Two people in two browsers go through the whole story, on a network that can be broken.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Browser } from "playwright-core";
import { drawPicture, launch, Person } from "../lib/browser.ts";
import { until } from "../lib/client.ts";
import { Proxy } from "../lib/proxy.ts";
import { freePort, Server } from "../lib/server.ts";

let browser: Browser;
let server: Server;
let ann: Person;
let bob: Person;
/** A network for each of them. */
let anns: Proxy;
let bobs: Proxy;

beforeAll(async () => {
  // Pictures go to one public URL, which is Ann's network; so for Bob's page they are of another origin.
  const [own, other] = [await freePort(), await freePort()];
  const origins = JSON.stringify([`http://127.0.0.1:${other}`]);
  server = await Server.start([`http.public_url=http://127.0.0.1:${own}`, `http.origins=${origins}`]);
  anns = await Proxy.start(server.port, own);
  bobs = await Proxy.start(server.port, other);
  browser = await launch();
  ann = await Person.arrive(browser, "ann");
  bob = await Person.arrive(browser, "bob");
});
afterAll(async () => {
  await browser?.close();
  await anns?.end();
  await bobs?.end();
  await server?.end();
});

const mark = (who: Person, text: string, name: string) => who.message(text).locator(`.mark.${name}`).waitFor();

describe.sequential("the story", () => {
  test("both sign in; Ann creates a group, Bob is told, and it is his", async () => {
    await Promise.all([ann.signIn(anns.url), bob.signIn(bobs.url)]);
    await ann.createGroup("Tea at four", "bob");
    await bob.page.getByText("You were added to Tea at four").waitFor();
    await bob.page.locator(".group-item", { hasText: "Tea at four" }).waitFor();
  });

  test("text goes over with its marks: sent, delivered, read, and by whom", async () => {
    await ann.write("Shall we? <b>not bold</b> <img src=x onerror=alert(1)>");
    const text = "Shall we? <b>not bold</b> <img src=x onerror=alert(1)>";
    await mark(ann, text, "delivered");
    await bob.page.locator(".group-item .badge", { hasText: "1" }).waitFor();
    await bob.open("Tea at four");
    await bob.message(text).waitFor();
    await mark(ann, text, "read");
    await bob.page.locator(".group-item .badge").waitFor({ state: "detached" });
    await ann.message(text).locator("button.mark").click();
    const dialog = ann.page.getByRole("dialog", { name: "Who has read it" });
    await dialog.getByText("Read by 1 of 1").waitFor();
    await ann.page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    // What was written is text, and nothing else.
    expect(await ann.page.locator(".message .text *").count()).toBe(0);
    expect(await bob.page.locator(".message .text *").count()).toBe(0);
  });

  test("typing is seen", async () => {
    await bob.page.getByRole("textbox", { name: /^Message to/ }).pressSequentially("Yes");
    await ann.page.getByText("bob is typing…").waitFor();
    await bob.page.getByRole("textbox", { name: /^Message to/ }).fill("");
    await bob.write("Yes, at four!");
    await ann.message("Yes, at four!").waitFor();
  });

  test("a picture goes over", async () => {
    const buffer = await drawPicture(bob.page);
    await bob.page.locator("input[type=file]").setInputFiles({ name: "hills.png", mimeType: "image/png", buffer });
    await bob.write("From here you see the hills");
    const picture = ann.message("From here you see the hills").locator("img");
    await picture.waitFor();
    await until("it is drawn", () => picture.evaluate((image: HTMLImageElement) => image.naturalWidth === 640));
    await mark(bob, "From here you see the hills", "read");
    await ann.write("Lovely. I'll bring the cake.");
    await bob.message("Lovely. I'll bring the cake.").waitFor();
    await ann.shot("conversation");
  });

  test("Bob's network is cut: he is told, gets exactly what he missed, and what he wrote meanwhile goes out", async () => {
    bobs.mode = "refuse";
    bobs.cut();
    await bob.page.getByText("You are offline.").waitFor();
    for (const text of ["missed 1", "missed 2", "missed 3"]) await ann.write(text);
    await ann.message("missed 3").locator(".mark.sent").waitFor();
    await bob.write("written offline");
    await bob.page.getByText("1 message waits.").waitFor();
    await bob.message("written offline").getByLabel("Waiting for the connection").waitFor();
    await bob.shot("offline");
    const before = await bob.texts();
    bobs.mode = "open";
    await bob.page.getByRole("button", { name: /^Try now/ }).click({ timeout: 1_000 }).catch(() => {}); // it may have come back by itself
    await bob.online();
    await ann.message("written offline").waitFor();
    await until("Bob has it all", async () => (await bob.texts()).length === before.length + 4);
    const after = await bob.texts();
    expect(after.slice(before.length)).toEqual(["missed 1", "missed 2", "missed 3", "written offline"]);
    expect(await ann.texts()).toEqual(after);
    await until("the log says what was replayed", async () => (await bob.page.locator(".appended.replayed").count()) >= 3);
  });

  test("a reload with a full outbox and without a network: everything is still there, and goes out once", async () => {
    await until("the page is kept", () => bob.page.evaluate(() => navigator.serviceWorker.ready.then(() => true)));
    bobs.mode = "refuse";
    bobs.cut();
    await bob.page.getByText("You are offline.").waitFor();
    const before = await bob.texts();
    for (const text of ["kept 1", "kept 2"]) await bob.write(text);
    const buffer = await drawPicture(bob.page, 320, 200);
    await bob.page.locator("input[type=file]").setInputFiles({ name: "small.png", mimeType: "image/png", buffer });
    await bob.write("kept picture");
    await bob.page.getByText("3 messages wait.").waitFor();
    await bob.page.reload();
    await bob.page.getByRole("main", { name: "Tea at four" }).waitFor();
    await bob.page.getByText("3 messages wait.").waitFor();
    await bob.message("kept picture").waitFor();
    await until("all that was there is there again", async () => (await bob.texts()).length >= before.length);
    expect(await bob.texts()).toEqual(before);
    bobs.mode = "open";
    await bob.page.getByRole("button", { name: /^Try now/ }).click({ timeout: 1_000 }).catch(() => {});
    await bob.online();
    await ann.message("kept picture").locator("img").waitFor();
    await until("Bob's outbox is empty", async () => (await bob.page.locator("[data-pending]").count()) === 0);
    expect((await bob.texts()).slice(before.length)).toEqual(["kept 1", "kept 2", "kept picture"]);
    expect(await ann.texts()).toEqual(await bob.texts());
  });

  test("the button cuts the connection, and the replay is seen", async () => {
    await ann.page.getByRole("button", { name: /^Cut/ }).click();
    await ann.page.getByText("You are offline.").waitFor();
    const replayed = await ann.page.locator(".appended.replayed").count();
    for (const text of ["while you were away", "and this too"]) await bob.write(text);
    await bob.message("and this too").locator(".mark").waitFor();
    await ann.page.getByRole("button", { name: /^Connect again/ }).click();
    await ann.message("and this too").waitFor();
    await until("two more are replayed", async () => (await ann.page.locator(".appended.replayed").count()) === replayed + 2);
    expect(await ann.page.locator(".appended .position").first().textContent()).toMatch(/^\d+ @ \d+$/);
    await ann.shot("replay");
  });

  test("what grows under a reader's eyes, a late picture or a notice, doesn't part them from the newest message", async () => {
    // As it is when a scroll event that is still under way meets a list that has grown meanwhile.
    const list = bob.page.getByRole("log", { name: "Messages" });
    await list.evaluate((list) => {
      (list.firstElementChild as HTMLElement).style.paddingBottom = "200px";
      list.dispatchEvent(new Event("scroll"));
    });
    await ann.write("Still there?");
    await mark(ann, "Still there?", "read");
    await list.evaluate((list) => (list.firstElementChild as HTMLElement).style.removeProperty("padding-bottom"));
  });

  test("the server is restarted under them, in order and by force", async () => {
    for (const end of [() => server.stop(), () => server.kill()]) {
      await end();
      await Promise.all([ann, bob].map((who) => who.page.getByText("You are offline.").waitFor()));
      const text = `written at ${Date.now()}`;
      await ann.write(text);
      await server.start();
      await Promise.all([ann, bob].map((who) => who.page.getByRole("button", { name: /^Try now/ }).click({ timeout: 1_000 }).catch(() => {})));
      await Promise.all([ann.online(), bob.online()]);
      await bob.message(text).waitFor();
      await ann.message(text).locator(".mark.read").waitFor();
    }
    expect(await ann.texts()).toEqual(await bob.texts());
  });

  test("members: one more is added, and the group changes hands", async () => {
    await ann.page.getByRole("button", { name: "Members and settings" }).click();
    const dialog = ann.page.getByRole("dialog", { name: "Members" });
    await dialog.getByLabel("User ids to add").fill("cat");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await dialog.locator("li", { hasText: "cat" }).waitFor();
    await dialog.getByLabel("What to do with bob").click();
    await ann.shot("members");
    await dialog.getByRole("button", { name: "Transfer the group" }).click();
    await dialog.locator("li", { hasText: "bob" }).getByText("owner").waitFor();
    await ann.page.keyboard.press("Escape");
    await bob.page.getByText("ann gave the group to bob").waitFor();
  });

  test("nothing was refused by the page's policy, and no script failed", () => {
    expect(ann.complaints).toEqual([]);
    expect(bob.complaints).toEqual([]);
  });
});
