/** Small parts: icons, avatars, dialogs. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { hueOf, useName } from "./hooks.ts";

const PATHS = {
  send: "M4 12 20 4l-5 16-3.500-6.500z M11.500 13.500 20 4",
  attach: "m20 11-8.500 8.500a5 5 0 0 1-7-7L13 4a3.300 3.300 0 0 1 4.700 4.700L9.500 17a1.700 1.700 0 0 1-2.400-2.400L14.500 7.200",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  back: "M15 5l-7 7 7 7",
  members: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM2.500 20c0-3.300 2.900-5.500 6.500-5.500s6.500 2.200 6.500 5.500M16 4.300a3.500 3.500 0 0 1 0 6.400M18 14.900c2.200.8 3.500 2.600 3.500 5.100",
  log: "M5 6h14M5 12h14M5 18h9",
  clock: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zM12 8v4l2.500 2",
  sent: "m6 12.500 4 4 8-9",
  both: "m2.500 12.500 4 4 8-9M11 15.500l1 1 8.500-9",
  failed: "M12 7v6M12 16.500v.5M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  cut: "M4 4l16 16M9 9a6 6 0 0 0-3 1.800M12 6c3 0 5.800 1.200 8 3.300M2.500 8.500c1-.9 2-1.600 3.200-2.100M14.500 12.500c1 .4 1.900 1 2.700 1.800M12 19h.01",
  link: "M5 12.500a10 10 0 0 1 14 0M8 15.500a6 6 0 0 1 8 0M2 9.300a15 15 0 0 1 20 0M12 19h.01",
  down: "m6 10 6 6 6-6",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1 1M17.400 17.400l1 1M18.400 5.600l-1 1M6.600 17.400l-1 1",
  auto: "M12 21a9 9 0 1 0 0-18zM12 21a9 9 0 0 1 0-18",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  crown: "M4 18h16M4 15 3 7l5 3.500L12 5l4 5.500L21 7l-1 8z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function IconButton(props: {
  icon: IconName;
  label: string;
  onClick: () => void;
  pressed?: boolean;
  class?: string;
}) {
  const { icon, label, onClick, pressed } = props;
  return (
    <button type="button" class={`icon-button ${props.class ?? ""}`} aria-label={label} title={label} aria-pressed={pressed} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
}

const initials = (name: string) => {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[1]] : [...(words[0] ?? "?")].slice(0, 2);
  return letters.map((word) => [...(word ?? "")][0] ?? "").join("").toUpperCase();
};

export function Avatar({ id, name, kind }: { id: string; name: string; kind: "user" | "group" }) {
  return (
    <span class={`avatar ${kind} hue-${hueOf(id)}`} aria-hidden="true">
      {initials(name)}
    </span>
  );
}

export function UserAvatar({ user }: { user: string }) {
  return <Avatar id={user} name={useName(user)} kind="user" />;
}

export function Name({ user }: { user: string }) {
  return <>{useName(user)}</>;
}

/** A dialog that is open as long as it is drawn. The browser keeps the focus in it and gives it back. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren; class?: string }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element && !element.open) element.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`dialog ${props.class ?? ""}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => event.target === dialog.current && props.onClose()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={id}>{props.title}</h2>
          <IconButton icon="close" label="Close" onClick={props.onClose} />
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

/** What went wrong, if something did. */
export function Trouble({ text }: { text: string | undefined }) {
  return text ? (
    <p class="trouble" role="alert">
      {text}
    </p>
  ) : null;
}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** User ids as somebody types them. */
export const idsOf = (text: string) => [...new Set(text.split(/[\s,;]+/).filter(Boolean))];
