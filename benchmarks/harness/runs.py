"""Runs and models that are kept one by one, so that one can go on later."""

import json
import pathlib
import time
from collections.abc import Callable

import keras

from benchmarks.harness.results import replacing, write


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
        write(path, kept)
        print(f"{name}: {result} ({seconds:.0f} s)", flush=True)
        return result


def kept_model(
    path: pathlib.Path, make: Callable[[], keras.Model]
) -> keras.Model:
    """The model at `path`, or what `make()` gives, which is then there."""
    if path.exists():
        return keras.models.load_model(path, compile=False)
    model = make()
    with replacing(path) as file:
        model.save(file)
    return model
