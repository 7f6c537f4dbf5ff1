"""Instructions and allocations a send, counted by valgrind: the same on a busy machine as on a quiet one, unlike any time.

What they don't show: the kernel, waiting for memory, and SHA and AES in hardware (valgrind's processor has no SHA).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from server import BenchError, Server

#: What is counted is what a few pairs or groups do: valgrind is about fifty times as slow.
SCALE = 0.1
WARM_S, COUNTED_S, MORE_S = 12, 10, 4
#: Called once a send, and once an allocation.
SEND = "parley_domain::decide::message::send"
ALLOCATIONS = ("mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned")
#: Comes every few seconds, for the rows of all sends since the last time: counted apart, since only some runs have it.
TABLES = "parley_readstore::providers::embedded::engine::store_leaving"
TOP = 40


@dataclass
class Profile:
    """What callgrind wrote: instructions of each function by itself, with all that it calls, and its calls."""

    own: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)


def parse(lines: Iterable[str]) -> Profile:
    """Reads callgrind's format (valgrind manual, "Callgrind Format Specification")."""
    profile, names = Profile(), dict[str, str]()

    def name(text: str) -> str:
        # "(12) name" the first time, "(12)" from then on.
        number, _, rest = text.partition(" ")
        return names.setdefault(number, rest) if rest else names.get(number, number)

    function, called, count = "", "", 0
    for line in lines:
        if line.startswith("fn="):
            function = name(line[3:].rstrip())
        elif line.startswith("cfn="):
            called = name(line[4:].rstrip())
        elif line.startswith("calls="):
            count = int(line[6:].split()[0])
            profile.calls[called] += count
        elif re.match(r"[-+*\d]", line) and len(parts := line.split()) > 1:
            cost = int(parts[1])
            if count:
                if called != function:
                    profile.whole[function] += cost
                count = 0
            else:
                profile.own[function] += cost
                profile.whole[function] += cost
    return profile


def instructions(binary: Path, scenario: str) -> None:
    """Drives a server under valgrind in a closed loop, and prints what a send takes."""
    if not shutil.which("valgrind"):
        raise BenchError("valgrind isn't there: install it (on Debian `apt-get install valgrind`)")
    with tempfile.TemporaryDirectory(prefix="parley-callgrind-") as directory:
        out = Path(directory) / "out"
        under = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", "--instr-atstart=no")
        with Server(binary, under=under) as server:
            pid = str(server.process.pid)

            def count() -> None:
                for switch, wait in (("on", WARM_S), ("off", COUNTED_S)):
                    time.sleep(wait)
                    subprocess.run(["callgrind_control", "-i", switch, pid], check=True, capture_output=True)

            counting = threading.Thread(target=count)
            counting.start()
            command = [str(binary), "bench", scenario, "--mode", "closed", "--scale", str(SCALE), "--url", server.url]
            command += ["--data", str(server.data), "--secs", str(WARM_S + COUNTED_S + MORE_S), "--json"]
            env = {**os.environ, "PARLEY_AUTH__HS256_SECRET": server.secret}
            run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            counting.join()
            if run.returncode != 0:
                raise BenchError(f"{scenario} ended with {run.returncode}: {run.stderr[-500:]}")
        with out.open(encoding="utf-8", errors="replace") as lines:
            profile = parse(lines)
    sends = profile.calls[SEND]
    if not sends:
        raise BenchError("nothing was sent while it was counted")
    tables = profile.whole[TABLES] / sends
    instructions_a_send = profile.own.total() / sends - tables
    allocations = sum(profile.calls[of] for of in ALLOCATIONS) / sends
    figures = f"{instructions_a_send:,.0f} instructions and {allocations:.1f} allocations a send"
    print(f"{scenario}: {figures}, beside {tables:,.0f} for tables of rows")
    print(f"{'with calls':>12} {'by itself':>12} {'calls':>8}")
    for function, whole in profile.whole.most_common(TOP):
        own, calls = profile.own[function] / sends, profile.calls[function] / sends
        print(f"{whole / sends:12,.0f} {own:12,.0f} {calls:8.2f} {function[:140]}")
