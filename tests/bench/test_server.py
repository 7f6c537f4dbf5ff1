"""Whether CPU time is told right."""

import os
import time

from server import cpu_s


def test_cpu_time_of_a_process_is_what_it_says_itself() -> None:
    before, told = time.process_time(), cpu_s(os.getpid())
    sum(range(1_000_000))
    again, after = cpu_s(os.getpid()), time.process_time()
    assert before <= told <= again <= after
    assert again - told > 0.001
