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

# need_java: sets JAVA and JAVA_ROOT to a Java 17, which Cassandra wants exactly.
need_java() {
  local try
  for try in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java)" /usr/lib/jvm/*17*/bin/java; do
    if [ -x "$try" ] && "$try" -version 2>&1 | grep -q 'version "17[."]'; then
      # shellcheck disable=SC2034 # for those who source this
      JAVA=$try JAVA_ROOT=$(dirname "$(dirname "$(readlink -f "$try")")")
      return 0
    fi
  done
  [ -z "${java_was_installed:-}" ] || die "no Java 17 after openjdk-17-jdk-headless was installed"
  java_was_installed=1
  need java-17 openjdk-17-jdk-headless
  need_java
}

# need_go: a Go that builds modules of today; one from 1.21 on fetches the toolchain that a module asks for.
need_go() {
  need go golang-go
  local version
  version=$(go env GOVERSION)
  [ "$(printf '%s\ngo1.21\n' "$version" | sort -V | head -n 1)" = go1.21 ] ||
    die "$version is too old: Go 1.21 or newer is needed"
}
