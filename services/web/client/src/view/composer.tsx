/** Where messages are written. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { kindOf, type Group } from "@parley/sdk";
import { draftOf } from "../model/draft.ts";
import { sizeOf, useShared } from "./hooks.ts";
import { Icon, IconButton, messageOf } from "./parts.tsx";

/** The tallest that it grows. */
const HEIGHT_MAX = 160;

export function Composer({ group }: { group: Group }) {
  const { parley, say } = useShared();
  const draft = draftOf(parley.user, group);
  const { text, file } = draft;
  const [, draw] = useState({});
  // At once, not with the next frame: what is typed next goes on from what is shown.
  useEffect(() => draft.on("changed", () => draw({})), [draft]);
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, HEIGHT_MAX)}px`;
  }, [text]);

  const change = (value: string) => {
    draft.set(value, draft.file);
    if (value) group.typing();
  };

  const choose = (chosen: File | undefined) => {
    if (!chosen) return;
    try {
      kindOf(chosen.type);
      draft.set(draft.text, chosen);
    } catch (error) {
      say(messageOf(error));
    }
    area.current?.focus();
  };

  const send = () => {
    void draft.send(group).then((trouble) => trouble && say(trouble));
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
          <IconButton icon="close" label="Remove the attachment" onClick={() => draft.set(draft.text, undefined)} />
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
