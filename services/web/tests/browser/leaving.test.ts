// Who leaves, and what becomes of what wasn't sent yet.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Browser } from "playwright-core";
import { launch, Person } from "../lib/browser.ts";
import { Server } from "../lib/server.ts";

let browser: Browser;
let server: Server;
const people: Person[] = [];
beforeAll(async () => {
  server = await Server.start();
  browser = await launch();
});
afterEach(async () => {
  for (const person of people.splice(0)) await person.context.close();
});
afterAll(async () => {
  await browser?.close();
  await server?.end();
});

/** Somebody who has written two messages without a connection. */
async function waiting(user: string): Promise<Person> {
  const person = await Person.arrive(browser, user);
  people.push(person);
  await person.signIn(server.url);
  await person.createGroup(`Notes of ${user}`, "");
  await person.page.getByRole("button", { name: "Cut connection" }).click();
  for (const text of ["first", "second"]) await person.write(text);
  await person.page.getByText("2 messages wait.").waitFor();
  return person;
}

test("whoever is signed out by the server and signs in again still has what waited, and it goes out", async () => {
  const ann = await waiting("ann");
  // No token any more, for good.
  await ann.page.route("**/dev/token", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    await route.fulfill({ status: 401, json: { error: { code: "token_expired", message: "it has ended", retryable: false } } });
  });
  await ann.page.reload();
  await ann.page.getByText("Signed out by the server: it has ended. 2 messages wait.").waitFor();
  await ann.page.unroute("**/dev/token");
  await ann.page.getByRole("button", { name: "Sign in again" }).click();
  await ann.page.getByLabel("Who are you?").fill("ann");
  await ann.page.getByRole("button", { name: "Sign in", exact: true }).click();
  await ann.online();
  await ann.message("second").locator("button.mark").waitFor();
  expect(await ann.texts()).toEqual(["first", "second"]);
});

test("whoever signs out is asked before anything is lost, and then nothing is left", async () => {
  const bob = await waiting("bob");
  const out = () => bob.page.getByRole("button", { name: "Sign out" }).first().click();
  const dialog = bob.page.getByRole("dialog", { name: "Sign out?" });
  await out();
  await dialog.getByText("2 messages aren't sent yet, and will be lost.").waitFor();
  await dialog.getByRole("button", { name: "Stay" }).click();
  await dialog.waitFor({ state: "detached" });
  await bob.message("second").waitFor();
  await out();
  await dialog.getByRole("button", { name: "Sign out" }).click();
  await bob.page.getByLabel("Who are you?").waitFor();
  const databases = () => bob.page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
  await expect.poll(databases).toEqual([]);
  await bob.signIn(server.url);
  await bob.open("Notes of bob");
  expect(await bob.page.locator(".pending").count()).toBe(0);
  // Nothing waits, so nobody asks.
  await out();
  await bob.page.getByLabel("Who are you?").waitFor();
});
