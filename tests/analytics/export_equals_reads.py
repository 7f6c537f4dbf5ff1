"""Real input, exported, equals the read models: a server imports a transcript, DuckDB counts, REST is asked the same.

export_equals_reads.py --binary target/release/parley [--transcript FILE] [--keep DIR]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from export import check_files, manifest, query

TRANSCRIPT = Path(__file__).resolve().parents[1] / "data" / "ubuntu-irc.jsonl.gz"
#: Whoever imports is in every group.
ARCHIVE = "archive"
#: Groups whose members' cursors the API gives.
CURSORS_MEMBERS_MAX = 200
#: How many of these groups, and members of each, acknowledge something: an import doesn't.
GROUPS_MOVED, MEMBERS_MOVED = 4, 5
ACKNOWLEDGED = "group_message_acknowledged"


class DifferenceError(Exception):
    """The export says something else than the API, or a command failed."""


class Api:
    """REST as one user."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    def get(self, path: str) -> dict[str, Any]:
        """A JSON object."""
        request = urllib.request.Request(f"{self._url}/v1{path}", headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return dict(json.load(response))

    def pages(self, path: str, items: str) -> Iterator[dict[str, Any]]:
        """All items of a paged list."""
        cursor = ""
        while True:
            page = self.get(f"{path}?limit=200{cursor}")
            yield from page[items]
            if not page.get("next_cursor"):
                return
            cursor = f"&cursor={page['next_cursor']}"

    def messages(self, group: str) -> int:
        """How many messages the history has."""
        count, after = 0, 0
        while True:
            page = self.get(f"/groups/{group}/messages?limit=200&after_seq={after}")
            count += len(page["messages"])
            if not page["has_more"]:
                return count
            after = page["messages"][-1]["seq"]


def run(binary: Path, *args: str) -> str:
    """A command's standard output. Raises `DifferenceError` if it failed."""
    done = subprocess.run([binary, *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DifferenceError(f"parley {args[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def server(binary: Path, data: Path) -> Iterator[str]:
    """A server on a data directory: its URL."""
    with (data.parent / "server.log").open("a") as log:
        command = [str(binary), "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
        command += ["--set", "limits.sends_per_second=0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("listening on "):
            raise DifferenceError(f"the server didn't start: {(data.parent / 'server.log').read_text()[-2000:]}")
        yield line.removeprefix("listening on ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def acknowledge(url: str, group: dict[str, Any], token: str, status: str, seq: int) -> None:
    """Moves a member's cursor, as its client would."""
    with connect(
        f"{url.replace('http://', 'ws://')}/v1/ws?replay=none",
        additional_headers={"Authorization": f"Bearer {token}"},
        max_size=None,
    ) as socket:
        data = {"group_id": group["group_id"], "seq": seq, "status": status}
        socket.send(json.dumps({"event": "acknowledge_group_message", "id": "1", "data": data}))
        while True:
            frame = json.loads(socket.recv(timeout=30))
            if frame.get("id") == "1":
                same(f"the answer to an acknowledgement in {group['name']}", frame["event"], ACKNOWLEDGED)
                return


def move_cursors(binary: Path, data: Path, url: str, api: Api) -> int:
    """Some members of some groups acknowledge something; returns how often."""
    moved = 0
    groups = [group for group in api.pages("/groups", "groups") if group["member_count"] <= CURSORS_MEMBERS_MAX]
    for group in groups[:GROUPS_MOVED]:
        members = [member["user_id"] for member in api.pages(f"/groups/{group['group_id']}/members", "members")]
        for nth, user in enumerate(members[:MEMBERS_MOVED]):
            token = run(binary, "token", "--user", user, "--data", str(data)).strip()
            for status, seq in (("delivered", group["head_seq"] - nth), ("read", group["head_seq"] - 2 * nth)):
                acknowledge(url, group, token, status, seq)
                moved += 1
    return moved


def same(what: str, exported: object, served: object) -> None:
    """Raises `DifferenceError` if they differ."""
    if exported != served:
        raise DifferenceError(f"{what}: the export says {exported}, the API {served}")


def compare(export: Path, api: Api) -> dict[str, int]:
    """Everything that both know; returns what was compared."""
    columns, rows = query(export, "groups")
    by_group = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    listed = {group["group_id"]: group for group in api.pages("/groups", "groups")}
    same("groups", sorted(by_group), sorted(listed))
    _, cursor_rows = query(export, "cursors")
    cursors = {(group, user): (delivered, read) for group, user, delivered, read, _ in cursor_rows}
    compared = {"groups": 0, "messages": 0, "members": 0, "cursors": 0}
    for group, served in listed.items():
        row = by_group[group]
        name = served["name"]
        same(f"name of {group}", row["name"], name)
        same(f"events of {name}", row["events"], served["head_seq"])
        same(f"members of {name}", row["members"], served["member_count"])
        same(f"messages of {name}", row["messages"], api.messages(group))
        if served["member_count"] <= CURSORS_MEMBERS_MAX:
            for member in api.pages(f"/groups/{group}/members", "members"):
                known = cursors.get((group, member["user_id"]))
                if known is not None:
                    served_cursors = (member["delivered_seq"], member["read_seq"])
                    same(f"cursors of {member['user_id']} in {name}", known, served_cursors)
                    compared["cursors"] += 1
        compared["groups"] += 1
        compared["messages"] += row["messages"]
        compared["members"] += served["member_count"]
    _, faults = query(export, "check")
    same("streams with holes or repeats", faults, [])
    return compared


def check(binary: Path, transcript: Path, work: Path) -> dict[str, int]:
    """The whole of it, in an empty directory."""
    data, export = work / "data", work / "export"
    data.mkdir()
    with server(binary, data) as url:
        run(binary, "import", str(transcript), "--url", url, "--data", str(data), "--json")
        api = Api(url, run(binary, "token", "--user", ARCHIVE, "--data", str(data)).strip())
        if move_cursors(binary, data, url, api) == 0:
            raise DifferenceError("no group is small enough to compare cursors")
        first = json.loads(run(binary, "export", "--to", str(export), "--data", str(data), "--json"))
        check_files(export)
        compared = compare(export, api)
        again = json.loads(run(binary, "export", "--to", str(export), "--data", str(data), "--json"))
        same("rows that a second run adds", again["rows"], 0)
    # The same from the log that no server holds.
    offline = work / "offline"
    run(binary, "export", "--to", str(offline), "--data", str(data), "--json")
    for topic, part in manifest(export)["topics"].items():
        same(f"rows of {topic}, offline", manifest(offline)["topics"][topic]["rows"], part["rows"])
    for path in sorted(path.stem for path in (Path(__file__).parent / "sql").glob("*.sql")):
        query(export, path)
    return {**compared, "rows": first["rows"]}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="an export of real input equals the read models")
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--transcript", type=Path, default=TRANSCRIPT)
    parser.add_argument("--keep", type=Path, help="an empty directory to work in, kept")
    args = parser.parse_args()
    # `./parley` too is a file here, and no name to look for in $PATH.
    binary = args.binary.resolve()
    try:
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            compared = check(binary, args.transcript, args.keep)
        else:
            with tempfile.TemporaryDirectory(prefix="parley-export-") as folder:
                compared = check(binary, args.transcript, Path(folder))
    except DifferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("equal: " + ", ".join(f"{count} {what}" for what, count in compared.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
