"""The checker: histories, the log and what REST says, against what the contract promises. Pure.

    python checker.py --history h.jsonl --log log.jsonl     checks what `faults.py --keep` kept
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import history as histories
from check_ends import check_ends
from check_log import check_log
from check_sends import check_sends
from check_streams import check_streams
from facts import Facts
from history import Entry
from log import LogRecord, from_cat
from views import GroupView
from violations import Case, Violation

SHOWN_OF_A_KIND = 5


def check(
    entries: list[Entry], log: list[LogRecord], views: list[GroupView], partitions: int | None = None
) -> list[Violation]:
    """Everything that must never be, and was."""
    case = Case.of(Facts(entries), log, views, partitions)
    for part in (check_log, check_sends, check_streams, check_ends):
        part(case)
    return list(dict.fromkeys(case.found))


def summary(violations: list[Violation]) -> str:
    """How many of each kind, and some of each."""
    lines, shown = [], Counter[str]()
    for kind, count in Counter(violation.kind for violation in violations).most_common():
        lines.append(f"{kind}: {count}")
        for violation in violations:
            if violation.kind == kind and shown[kind] < SHOWN_OF_A_KIND:
                shown[kind] += 1
                lines.append(f"    {violation.detail}")
    return "\n".join(lines) or "no violation"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="checks a kept history against a kept log")
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True, help="the output of `parley log cat --json`")
    args = parser.parse_args()
    entries = histories.load(args.history.read_text(encoding="utf-8").splitlines())
    violations = check(entries, from_cat(args.log.read_text(encoding="utf-8").splitlines()), [])
    print(summary(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
