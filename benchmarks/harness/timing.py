"""Times of things that are compared, run side by side."""

import time
from collections.abc import Callable
from typing import Any


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(arms: dict[str, Callable], repeats: int) -> dict[str, list]:
    """Seconds of each repeat of each arm, after one run to warm up."""
    for run in arms.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats):
        # Every other repeat runs backwards, so that no arm is always last.
        for name in list(arms)[:: 1 if repeat % 2 == 0 else -1]:
            times[name].append(seconds(arms[name]))
    return times
