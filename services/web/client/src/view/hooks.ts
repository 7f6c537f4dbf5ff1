/** What views share. */

import { createContext } from "preact";
import { useContext, useEffect, useReducer } from "preact/hooks";
import type { Emitter, Parley } from "@parley/sdk";
import type { LogModel } from "../model/log.ts";
import type { Names } from "../model/names.ts";

/** What every view can reach. */
export interface Shared {
  parley: Parley;
  names: Names;
  log: LogModel;
  /** Says something to those who don't see the screen, and shows it shortly to those who do. */
  say: (text: string) => void;
  /** Forgets the user and all that is kept for it here. */
  signOut: () => void;
  /** Forgets who it is, and keeps the rest for the same user. */
  signInAgain: () => void;
}

export const Context = createContext<Shared | undefined>(undefined);

export function useShared(): Shared {
  const shared = useContext(Context);
  if (!shared) throw new Error("outside of the context");
  return shared;
}

/** Draws again when something tells that it changed; at most once a frame. */
export function useChanges<Events extends object>(source: Emitter<Events>, ...names: (keyof Events)[]): void {
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    let asked = 0;
    const soon = () => {
      asked ||= setTimeout(() => {
        asked = 0;
        again(undefined as never);
      }, 16) as unknown as number;
    };
    const stops = names.map((name) => source.on(name, soon));
    // Something may have happened between drawing and listening.
    soon();
    return () => {
      clearTimeout(asked);
      for (const stop of stops) stop();
    };
  }, [source]);
}

/** The name of a user, kept up to date. */
export function useName(user: string): string {
  const { names } = useShared();
  useChanges(names, "changed");
  return names.of(user);
}

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const timeOf = (at: string) => time.format(new Date(at));
export function dayOf(at: string): string {
  const date = new Date(at);
  return date.toDateString() === new Date().toDateString() ? "Today" : day.format(date);
}
/** The time if it was today, else the day. */
export function shortOf(at: string): string {
  const date = new Date(at);
  return date.toDateString() === new Date().toDateString() ? time.format(date) : short.format(date);
}

/** A colour's number for a name: the same one everywhere. */
export function hueOf(name: string): number {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 65_521;
  return hash % 8;
}

export function sizeOf(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
