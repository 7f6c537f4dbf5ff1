/** The theme on the screen, and its button. */

import { useState } from "preact/hooks";
import { storedTheme, storeTheme, THEMES, type Theme } from "../model/theme.ts";
import { IconButton } from "./parts.tsx";

const ICONS = { auto: "auto", light: "sun", dark: "moon" } as const;

export function applyTheme(theme: Theme = storedTheme()): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function ThemeButton() {
  const [theme, setTheme] = useState(storedTheme);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
  const change = () => {
    storeTheme(next);
    applyTheme(next);
    setTheme(next);
  };
  return <IconButton icon={ICONS[theme]} label={`Theme: ${theme}. Change to ${next}`} onClick={change} />;
}
