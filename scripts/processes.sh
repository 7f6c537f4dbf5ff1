# Sourced by scripts/engines and scripts/cluster: processes that go on after the script, each with a directory of its own
# that holds its process id (`pid`) and what it prints (`out.log`).
# shellcheck shell=bash

# Newer bash would put what was found in place of each `&` of a replacement, and URLs have some.
shopt -u patsub_replacement 2>/dev/null || true

# A line of progress.
note() { printf '   %s\n' "$*" >&2; }

# process_pid DIR: its process id, if it runs. Ids are used again, so the process must work below that directory (some change
# theirs) to be the one.
process_pid() {
  local pid
  [ -e "$1/pid" ] || return 1
  pid=$(<"$1/pid")
  [ -n "$pid" ] && [[ "$(readlink "/proc/$pid/cwd" 2>/dev/null)/" == "$1"/* ]] || return 1
  # One that has ended, but that nobody has asked about yet, has no command line.
  [ -n "$(tr -d '\0' <"/proc/$pid/cmdline" 2>/dev/null)" ] || return 1
  echo "$pid"
}

# taken HOST:PORT: whether somebody listens there.
# shellcheck disable=SC2016 # expanded by the inner bash
taken() { timeout 2 bash -c 'exec 3<>"/dev/tcp/${1%:*}/${1##*:}"' taken "$1" 2>/dev/null; }

# start_process DIR COMMAND...: runs the command, which may be a function that ends in `exec`. The caller has made DIR.
start_process() {
  local dir=$1
  shift
  # Without the lock of the script (9), which would last as long as the process.
  (cd "$dir" && exec 9>&- && "$@") </dev/null >>"$dir/out.log" 2>&1 &
  echo $! >"$dir/pid"
  # Until it is where it can be known; if it has ended already, whoever waits for its answer says so.
  until process_pid "$dir" >/dev/null; do
    kill -0 $! 2>/dev/null || break
    sleep 0.01
  done
}

# end_of_log DIR: for those who look for the reason.
end_of_log() {
  printf '\n--- the end of %s\n' "$1/out.log" >&2
  tail -n 40 "$1/out.log" >&2 || true
}

# signal_processes SIGNAL LIMIT_S DIR...: to each that runs, and waits until they are gone; from the limit on with SIGKILL.
signal_processes() {
  local signal=$1 limit_s=$2 dir pid since=$SECONDS
  shift 2
  for dir in "$@"; do
    pid=$(process_pid "$dir") || continue
    kill "-$signal" "$pid" 2>/dev/null || true
    # One that was stopped (SIGSTOP) sees no SIGTERM.
    kill -CONT "$pid" 2>/dev/null || true
  done
  for dir in "$@"; do
    while pid=$(process_pid "$dir"); do
      if [ "$signal" != KILL ] && [ $((SECONDS - since)) -ge "$limit_s" ]; then
        note "$(basename "$dir") doesn't stop within $limit_s s: killed"
        kill -KILL "$pid" 2>/dev/null || true
      fi
      sleep 0.1
    done
    rm -f "$dir/pid"
  done
}

# lock DIR: one script at a time in a directory.
lock() {
  exec 9>"$1/lock"
  flock -w 300 9 || die "another $0 works in $1"
}
