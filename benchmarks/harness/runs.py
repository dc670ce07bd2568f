"""Runs and models that are kept one by one, so that one can go on later."""

import contextlib
import gzip
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import keras

from benchmarks.harness.machine import environment
from benchmarks.harness.results import replacing


class Runs:
    """The finished runs of a benchmark, one line each of `runs.jsonl`.

    A run that is asked for again with the same settings is read, not made; so
    is one that another process made meanwhile. The file may be put into the
    folder of another clone, which goes on from there.

    Args:
        folder: Where the file is, and models that are kept.
        begun: A file of runs from elsewhere, which are read and not added to;
            `gzip -n` makes it of a `runs.jsonl`.
    """

    def __init__(
        self, folder: str | pathlib.Path, begun: pathlib.Path | None = None
    ) -> None:
        self.folder, self._begun = pathlib.Path(folder), begun
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.folder / "runs.jsonl"

    def __call__(
        self, name: str, settings: dict, make: Callable[[], dict]
    ) -> dict:
        """Returns the result of `make()`, made now or before."""
        settings = json.loads(json.dumps(settings))
        for kept in self._kept():
            if (kept["name"], kept["settings"]) == (name, settings):
                return kept["result"]
        start = time.perf_counter()
        result = make()
        run = {
            "name": name,
            "settings": settings,
            "seconds": round(time.perf_counter() - start, 1),
            "environment": environment(),
            "result": result,
        }
        self._append(json.dumps(run))
        print(f"{name}: {result} ({run['seconds']:.0f} s)", flush=True)
        return result

    def environments(self) -> list[dict]:
        """On what the runs were made, each once."""
        found: list[dict] = []
        for kept in self._kept():
            if kept["environment"] not in found:
                found.append(kept["environment"])
        return found

    def _kept(self) -> Iterator[dict]:
        for file in filter(None, (self._file, self._begun)):
            if not file.exists():
                continue
            read = file.read_bytes()
            text = gzip.decompress(read) if file is self._begun else read
            for line in text.decode().splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # Cut off.
                    yield json.loads(line)

    def _append(self, line: str) -> None:
        """In one piece, as another process may do the same."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        file = os.open(self._file, flags, mode=0o666)
        try:
            size = os.fstat(file).st_size
            whole = size == 0 or os.pread(file, 1, size - 1) == b"\n"
            os.write(file, f"{'' if whole else chr(10)}{line}\n".encode())
        finally:
            os.close(file)


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
