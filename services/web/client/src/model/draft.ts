/** What somebody is writing. */

import { Emitter, ParleyError, type Group } from "@parley/sdk";

/** The outbox didn't take it, so that it is nowhere. */
const NOT_TAKEN = ["outbox_full", "storage"];

export class Draft extends Emitter<{ changed: void }> {
  text = "";
  file: File | undefined;

  set(text: string, file: File | undefined): void {
    this.text = text;
    this.file = file;
    this.emit("changed", undefined);
  }

  /** Gives it to the outbox, and has it back if that doesn't take it: then the answer is why. */
  async send(group: Group): Promise<string | undefined> {
    const { file } = this;
    const text = this.text.trim();
    if (!text && !file) return undefined;
    this.set("", undefined);
    try {
      await group.send({ ...(text && { text }), ...(file && { media: file }) });
    } catch (error) {
      // What else becomes of it is shown where it stands.
      if (!(error instanceof ParleyError) || !NOT_TAKEN.includes(error.code)) return undefined;
      // Something new may have been begun.
      this.set([text, this.text].filter(Boolean).join("\n"), this.file ?? file);
      return error.message;
    }
    return undefined;
  }
}

/** Kept while the page lives, each for its own user: another one may sign in. */
const drafts = new Map<string, Draft>();

export function draftOf(user: string, group: Group): Draft {
  const key = `${group.id} ${user}`;
  const draft = drafts.get(key) ?? new Draft();
  drafts.set(key, draft);
  return draft;
}
