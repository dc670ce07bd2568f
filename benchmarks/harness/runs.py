"""Runs of a benchmark that are kept one by one, so that it can be resumed."""

import json
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any


class Runs:
    """The finished runs of a benchmark, one JSON file each.

    A run that is asked for again with the same settings is read, not made; so
    is one that another process made meanwhile.
    """

    def __init__(self, folder: str | pathlib.Path) -> None:
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(
        self, name: str, settings: dict, make: Callable[[], dict]
    ) -> dict:
        """Returns the result of `make()`, made now or before."""
        path = self.folder / f"{name}.json"
        settings = json.loads(json.dumps(settings))
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["settings"] == settings:
                return kept["result"]
        start = time.perf_counter()
        result = make()
        seconds = round(time.perf_counter() - start, 1)
        kept = {"settings": settings, "seconds": seconds, "result": result}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(kept, indent=1) + "\n")
        temporary.replace(path)
        print(f"{name}: {result} ({seconds:.0f} s)", flush=True)
        return result


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Mean, standard deviation and the values, in the order of the seeds."""
    values = list(values)
    return {
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
    }
