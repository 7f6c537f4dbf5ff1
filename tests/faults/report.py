"""The report of a run, as Markdown."""

from __future__ import annotations

import os
import platform
from collections import Counter
from datetime import UTC, datetime

from measures import FAILOVER_MS, HANDOVER_MS
from rounds import RoundResult

HEAD = (
    "| round | fault | accepted | repeats | void | fail-over first / last ms "
    "| hand-over first / last, longest of a send ms | longest wait ms "
    "| resumes: median / worst ms | closes | violations |"
)


def _ms(*values: float | None) -> str:
    return " / ".join("-" if value is None else f"{value:.0f}" for value in values) if any(values) else "-"


def row(result: RoundResult) -> str:
    """One line of the table."""
    m = result.measures
    found = Counter(violation.kind for violation in result.violations)
    cells = [
        result.name,
        f"{result.fault}: {result.what}" if result.what else result.fault,
        str(m.accepted),
        str(m.duplicates),
        str(m.void),
        _ms(m.failover_first, m.failover_last),
        _ms(m.handover_first, m.handover_last, m.handover_wait),
        _ms(m.longest_wait),
        f"{m.resumes}: {_ms(m.resume_median, m.resume_worst)}" if m.resumes else "-",
        ", ".join(f"{count} x {code}" for code, count in sorted(m.closes.items())) or "-",
        ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "none",
    ]
    return f"| {' | '.join(cells)} |"


def too_slow(results: list[RoundResult]) -> list[str]:
    """Rounds whose fail-over or hand-over took longer than promised."""
    return [f"{result.name}: {what}" for result in results for what in result.measures.slow()]


def markdown(results: list[RoundResult], settings: dict[str, str], seconds: float) -> str:
    """The whole report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    machine = f"{os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, all on one machine"
    lines = [
        "# Faults under load, with an independent checker",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}; {seconds / 60:.0f} minutes. Made by `scripts/faults`.",
        "",
        "In each round acknowledged sends go on while the fault happens; then all is quiet, every client has to come",
        "to the head, late readers who never were online replay everything at the other edge, and the checker compares",
        "what clients sent and saw with the log (its own decoder and void rule) and with REST.",
        "",
        HEAD,
        "|" + " --- |" * (HEAD.count("|") - 1),
        *(row(result) for result in results),
        "",
        f"{len(results)} rounds, {sum(r.measures.accepted for r in results)} accepted sends, "
        f"{sum(len(r.violations) for r in results)} violations.",
    ]
    slow = too_slow(results)
    slow_ones = "; ".join(slow) or "none"
    lines += ["", f"Slower than {FAILOVER_MS} ms of fail-over or {HANDOVER_MS} ms of hand-over: {slow_ones}."]
    lines += [
        "",
        "*Fail-over*: from the kill (or SIGSTOP) to the first send accepted under a new claim, for the first and the",
        "last of the moved partitions with sends. *Hand-over*: the same from a SIGTERM, and the longest that any send",
        "to one of these partitions stood open in the seconds after it. *Longest wait*: of any send, its client's time",
        "without a connection included. *Resumes*: connections made after the fault, from the handshake to the last",
        "event of the replay. *Void*: records of the log up to then that the void rule skips.",
        "",
        "## Settings",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in settings.items()),
    ]
    for result in results:
        if result.violations:
            lines += ["", f"## Violations of {result.name}", ""]
            lines += [f"- {violation}" for violation in result.violations[:50]]
            lines += ["", f"Kept: {', '.join(str(path) for path in result.kept)}"]
    return "\n".join(lines) + "\n"
