# Sourced by scripts/faults and scripts/analytics: $python is a Python 3.11 with tests/faults/requirements.txt.
# shellcheck shell=bash disable=SC2154
command -v python3 >/dev/null || need python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
venv=$root/.cache/python
wanted=$(sha256sum <"$root/tests/faults/requirements.txt")
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
  say "installing the Python packages of tests/faults"
  python3 -m venv --clear "$venv" || die "no virtual environment (Debian: apt-get install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/tests/faults/requirements.txt" ||
    die "the packages can't be installed"
  printf '%s\n' "$wanted" >"$venv/installed"
fi
# shellcheck disable=SC2034
python=$venv/bin/python
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# python_tests DIRECTORY: types, lints, and its tests. Seconds; part of scripts/test.
python_tests() {
  (cd "$root/$1" && "$venv/bin/ruff" check --no-cache . && "$venv/bin/mypy" --cache-dir "$venv/mypy-$(basename "$1")" . &&
    "$python" -m pytest -q -p no:cacheprovider .)
}
