# Sourced by the scripts: where things are, and what a fresh machine lacks.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE: installs a Debian package if the command is missing and we may.
need() {
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $2"
    apt-get update -qq && apt-get install -y -qq "$2" >/dev/null || die "$2 can't be installed"
  else
    die "$1 is missing: install it (Debian: apt-get install $2)"
  fi
}

need_toolchain() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust 1.95 or newer with rustup"
  need cc build-essential
  need cmake cmake
}
