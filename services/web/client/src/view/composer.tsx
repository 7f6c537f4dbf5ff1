/** Where messages are written. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { kindOf, type Group, type ParleyError } from "@parley/sdk";
import { sizeOf, useShared } from "./hooks.ts";
import { Icon, IconButton, messageOf } from "./parts.tsx";

/** The tallest that it grows. */
const HEIGHT_MAX = 160;
/** Drafts that are kept while the page lives. */
const drafts = new Map<string, string>();

export function Composer({ group }: { group: Group }) {
  const { say } = useShared();
  const [text, setText] = useState(drafts.get(group.id) ?? "");
  const [file, setFile] = useState<File>();
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, HEIGHT_MAX)}px`;
  }, [text]);

  const change = (value: string) => {
    setText(value);
    drafts.set(group.id, value);
    if (value) group.typing();
  };

  const choose = (chosen: File | undefined) => {
    if (!chosen) return;
    try {
      kindOf(chosen.type);
      setFile(chosen);
    } catch (error) {
      say(messageOf(error));
    }
    area.current?.focus();
  };

  const send = () => {
    const trimmed = text.trim();
    if (!trimmed && !file) return;
    const message = { ...(trimmed && { text: trimmed }), ...(file && { media: file }) };
    // What becomes of it is shown where it stands.
    group.send(message).catch((error: ParleyError) => {
      if (error.code === "outbox_full" || error.code === "storage") say(error.message);
    });
    setFile(undefined);
    change("");
    area.current?.focus();
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        choose(event.dataTransfer?.files[0]);
      }}
    >
      {file && (
        <div class="attached">
          <Icon name="attach" />
          <span class="clip">{file.name}</span>
          <small>{sizeOf(file.size)}</small>
          <IconButton icon="close" label="Remove the attachment" onClick={() => setFile(undefined)} />
        </div>
      )}
      <div class="row">
        <IconButton icon="attach" label="Attach a picture, video or audio" onClick={() => picker.current?.click()} />
        <input
          ref={picker}
          type="file"
          class="hidden"
          tabIndex={-1}
          aria-label="Attachment"
          accept="image/*,video/*,audio/*"
          onChange={(event) => {
            choose(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
        <textarea
          ref={area}
          rows={1}
          value={text}
          aria-label={`Message to ${group.info?.name ?? "the group"}`}
          placeholder="Write a message"
          onInput={(event) => change(event.currentTarget.value)}
          onPaste={(event) => {
            const pasted = event.clipboardData?.files[0];
            if (!pasted) return;
            event.preventDefault();
            choose(pasted);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            send();
          }}
        />
        <button type="submit" class="send" aria-label="Send" title="Send" disabled={!text.trim() && !file}>
          <Icon name="send" />
        </button>
      </div>
    </form>
  );
}
