"""Times of things that are compared, run side by side."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(
    arms: dict[str, Callable], repeats: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each repeat of each arm, after one run to warm up."""
    for run in arms.values() if warm_up else ():
        run()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats):
        for name in taking_turns(arms, repeat):
            times[name].append(seconds(arms[name]))
    return times


def taking_turns(arms: dict[str, Any], repeat: int) -> list[str]:
    """Every other repeat runs backwards, so that no arm is always last."""
    return list(arms)[:: 1 if repeat % 2 == 0 else -1]


def ratio(numerator: list[float], *denominators: list[float]) -> float:
    """Median over repeats of a ratio of times taken side by side."""
    rows = zip(numerator, *denominators, strict=True)
    return round(statistics.median(n / sum(ds) for n, *ds in rows), 3)
