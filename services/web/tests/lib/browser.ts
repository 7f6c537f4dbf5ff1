// A real browser, and people in it.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { existsSync } from "node:fs";
import { chromium, type Browser, type BrowserContext, type Locator, type Page } from "playwright-core";
import { ROOT } from "./server.ts";

const SHOTS = join(ROOT, "target/web/screenshots");
const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export function launch(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? PATHS.find(existsSync);
  if (!executablePath) throw new Error("no Chromium: apt-get install chromium, or set CHROMIUM");
  // Containers have no user namespaces for the sandbox, and little shared memory.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** Somebody with a browser of its own. */
export class Person {
  readonly user: string;
  readonly context: BrowserContext;
  readonly page: Page;
  /** What the page complained of: errors of scripts, and what the policy refused. */
  readonly complaints: string[] = [];

  private constructor(user: string, context: BrowserContext, page: Page) {
    this.user = user;
    this.context = context;
    this.page = page;
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (/Content Security Policy|TrustedHTML|TrustedScript/i.test(message.text())) this.complaints.push(message.text());
    });
  }

  static async arrive(browser: Browser, user: string, options: Parameters<Browser["newContext"]>[0] = {}): Promise<Person> {
    const context = await browser.newContext({ viewport: { width: 1360, height: 860 }, ...options });
    context.setDefaultTimeout(20_000);
    return new Person(user, context, await context.newPage());
  }

  async signIn(url: string): Promise<void> {
    await this.page.goto(url);
    await this.page.getByLabel("Who are you?").fill(this.user);
    await this.page.getByRole("button", { name: "Sign in", exact: true }).click();
    await this.page.getByRole("navigation", { name: "Groups" }).waitFor();
    await this.online();
  }

  /** Connected, and everything is resumed. */
  async online(): Promise<void> {
    await this.page.locator(".banner").waitFor({ state: "detached" });
    await this.page.getByRole("button", { name: /^Cut/, disabled: false }).or(this.page.locator(".app:not(.has-log)")).first().waitFor();
  }

  async createGroup(name: string, members: string): Promise<void> {
    await this.page.getByRole("button", { name: "New group" }).first().click();
    const dialog = this.page.getByRole("dialog", { name: "New group" });
    await dialog.getByLabel("Name").fill(name);
    await dialog.getByLabel("Members").fill(members);
    await dialog.getByRole("button", { name: "Create" }).click();
    await this.page.getByRole("main", { name }).waitFor();
  }

  async open(group: string): Promise<void> {
    await this.page.locator(".group-item", { hasText: group }).click();
    await this.page.getByRole("main", { name: group }).waitFor();
  }

  async write(text: string): Promise<void> {
    await this.page.getByRole("textbox", { name: /^Message to/ }).fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** The message with exactly this text. */
  message(text: string): Locator {
    return this.page.locator(".message", { has: this.page.getByText(text, { exact: true }) });
  }

  /** Texts on the screen that came through the log, in order. */
  async texts(): Promise<string[]> {
    return this.page.locator(".message[data-seq] .text").allTextContents();
  }

  async shot(name: string): Promise<void> {
    mkdirSync(SHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`) });
  }
}

/** A picture, as a browser draws it. */
export async function drawPicture(page: Page, width = 640, height = 400): Promise<Buffer> {
  const base64 = await page.evaluate(
    async ({ width, height }) => {
      const canvas = new OffscreenCanvas(width, height);
      const context = canvas.getContext("2d");
      if (!context) throw new Error("no canvas");
      const sky = context.createLinearGradient(0, 0, 0, height);
      sky.addColorStop(0, "#20356b");
      sky.addColorStop(0.6, "#e9a178");
      sky.addColorStop(1, "#f7d9b0");
      context.fillStyle = sky;
      context.fillRect(0, 0, width, height);
      context.fillStyle = "#fff3d0";
      context.beginPath();
      context.arc(width * 0.68, height * 0.52, 42, 0, 7);
      context.fill();
      for (const [y, color] of [[0.66, "#4a4f7c"], [0.78, "#2d3157"], [0.9, "#181b36"]] as const) {
        context.fillStyle = color;
        context.beginPath();
        context.moveTo(0, height);
        for (let x = 0; x <= width; x += 8) context.lineTo(x, height * y + Math.sin(x / 60 + y * 20) * 22 + Math.sin(x / 23) * 8);
        context.lineTo(width, height);
        context.fill();
      }
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
      return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    },
    { width, height },
  );
  return Buffer.from(base64, "base64");
}
