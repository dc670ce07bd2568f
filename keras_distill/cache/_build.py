"""Makes a planned cache, shard by shard; may be stopped at any time."""

import contextlib
import itertools
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data_checks, _files
from keras_distill.cache import _shards, _teachers, _together
from keras_distill.cache._batches import Source
from keras_distill.cache._plan import (
    Options,
    Plan,
    another_cache,
    make_plan,
    require_same_plan,
)
from keras_distill.cache._records import Layout
from keras_distill.cache._sources import source
from keras_distill.cache._teachers import Forward, Teacher


def prepare(
    teacher: Any,
    fingerprint: str | None,
    dataset: Any,
    folder: str | os.PathLike,
    options: Options,
) -> "Build":
    """Makes the plan of a build; writes nothing yet."""
    _data_checks.not_empty("dataset", dataset)
    known = _teachers.teacher(teacher, fingerprint)
    data = source(dataset, options.batch_size, known.input_shapes)
    plan = make_plan(data, known, options)
    return Build(plan, pathlib.Path(folder), data, known, bool(options.verbose))


def records(
    source: Source, forward: Forward, layout: Layout, batches: range
) -> Iterator[np.ndarray]:
    """Records of each batch; the teacher begins the next one meanwhile."""
    inputs = source.inputs(batches.start, batches.stop)
    begun = ((forward(x), x) for x in inputs)
    end: list[tuple[Any, Any]] = [(None, None)]
    for (logits, x), _ in itertools.pairwise(itertools.chain(begun, end)):
        yield layout.encode(logits(), _checksums.checks(x))


def present_plan(folder: pathlib.Path) -> dict | None:
    """A folder's manifest or else its plan, None if it holds neither."""
    # A plan that is gone has given way to a manifest, by another process.
    for name in (_shards.MANIFEST, _shards.PLAN, _shards.MANIFEST):
        with contextlib.suppress(FileNotFoundError):
            return _shards.read_json(folder / name)
    return None


@dataclass(frozen=True)
class Build:
    """A plan, the folder it is carried out in, and what its records need."""

    plan: Plan
    folder: pathlib.Path
    source: Source
    teacher: Teacher
    verbose: bool

    def require_one_part(self, worker: int, num_workers: int) -> None:
        """Refuses parts of which each process would make another."""
        if self.teacher.spread:
            _together.require_one_part(worker, num_workers)

    def run(self, wanted: Iterable[int]) -> None:
        """Makes those of the wanted shards that are not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self._require_same_plan()
        finished = _shards.finished_shards(self.folder)
        missing = []
        for shard in wanted:
            if shard in finished:
                _shards.check_digest(finished[shard])
            else:
                missing.append(shard)
        if self.teacher.spread:
            missing = _together.missing_anywhere(missing, self.plan.shards)
        self._announce(len(finished), missing)
        if new:
            plan = _shards.to_bytes(self.plan.to_json())
            _files.write_atomically(self.folder / _shards.PLAN, plan)
        progress = self._progress(missing)
        for shards in _contiguous(missing):
            self._make(shards, progress)

    def _require_same_plan(self) -> bool:
        """Whether the folder is new; refuses one with something else."""
        # Listed first: another worker may write its plan in between.
        names = sorted(path.name for path in self.folder.iterdir())
        present = present_plan(self.folder)
        if present is None:
            _require_empty(self.folder, names)
            return True
        require_same_plan(self.folder, present, self.plan)
        self._require_examples(present.get("examples"))
        return False

    def _require_examples(self, expected: int | None) -> None:
        found = self.source.examples
        if expected is None or found in (None, expected):
            return
        what = "another number of examples"
        received, present = f"{found} examples", f"{expected} examples"
        raise ValueError(another_cache(self.folder, what, received, present))

    def _make(self, shards: range, progress: Any) -> None:
        first, last = map(self.plan.batches_of, (shards[0], shards[-1]))
        batches = range(first.start, last.stop)
        forward, layout = self.teacher.forward, self.plan.layout
        made = records(self.source, forward, layout, batches)
        # A shard is written while the teacher is busy with the next one.
        with ThreadPoolExecutor(1) as writer:
            write = writer.submit(lambda: None)
            for shard in shards:
                found = self._shard(shard, made, progress)
                write.result()
                write = writer.submit(
                    _shards.write_shard, self.folder, shard, found
                )
            write.result()

    def _shard(
        self, shard: int, made: Iterator[np.ndarray], progress: Any
    ) -> np.ndarray:
        parts = []
        for _ in self.plan.batches_of(shard):
            parts.append(_next(made, shard))
            if progress:
                progress.add(1)
        self._require_full(parts, shard)
        return np.concatenate(parts)

    def _require_full(self, parts: list[np.ndarray], shard: int) -> None:
        # The last batch of the dataset alone may be smaller.
        size, last = self.plan.batch_size, shard == self.plan.shards - 1
        sizes = {len(part) for part in (parts[:-1] if last else parts)}
        if last and len(parts[-1]) > size:
            sizes.add(len(parts[-1]))
        sizes -= {size}
        if sizes:
            raise ValueError(
                "All batches but the last must be of one size. Received: "
                f"batches of {size} and of {min(sizes)} examples. Batch "
                "the examples anew, and filter them before."
            )

    def finish(self) -> None:
        """Writes the manifest, and removes what is not part of the cache."""
        paths = _shards.finished_shards(self.folder)
        shards = [_shards.describe(paths[n]) for n in sorted(paths)]
        examples = sum(shard["examples"] for shard in shards)
        manifest = self.plan.to_json()
        manifest |= {"shards": shards, "examples": examples}
        path = self.folder / _shards.MANIFEST
        data = _shards.to_bytes(manifest)
        if not path.exists() or path.read_bytes() != data:
            _files.write_atomically(path, data)
        (self.folder / _shards.PLAN).unlink(missing_ok=True)
        for rest in self.folder.glob(_shards.TEMPORARY):
            rest.unlink(missing_ok=True)

    # What the user is told.

    def _announce(self, finished: int, missing: list[int]) -> None:
        """Tells the size of the build, and refuses one without room."""
        layout = self.plan.layout
        size = layout.numpy_dtype.itemsize
        needed = self._batches(missing) * self.plan.batch_size * size
        free = shutil.disk_usage(self.folder).free
        room = f"{_readable(needed)} needed, {_readable(free)} free"
        if self.verbose:
            kept = f"top {layout.top_k} of " if layout.top_k else ""
            print(
                f"Teacher cache in {self.folder}: {kept}"
                f"{layout.classes:,} classes in {layout.dtype}, "
                f"{size:,} bytes per example, {room}; {finished} of "
                f"{self.plan.shards} shards are there."
            )
        if needed > free:
            raise ValueError(
                f"The disk lacks room for the cache. Received: {room} in "
                f"{self.folder}. Pass another folder, dtype='float16', or "
                "top_k to keep the largest logits only."
            )

    def _progress(self, missing: list[int]) -> Any:
        if not (self.verbose and missing):
            return None
        return keras.utils.Progbar(self._batches(missing), unit_name="batch")

    def _batches(self, shards: list[int]) -> int:
        return sum(len(self.plan.batches_of(shard)) for shard in shards)


def _next(made: Iterator[np.ndarray], shard: int) -> np.ndarray:
    for part in made:
        return part
    raise ValueError(
        "The dataset ended before its last batch. Received: no more batches "
        f"in shard {shard}. It must hold the same examples in each pass."
    )


def _require_empty(folder: pathlib.Path, names: list[str]) -> None:
    found = [name for name in names if not name.endswith(".tmp")]
    if found:
        raise ValueError(
            f"`folder` must be empty or hold a teacher cache. Received: "
            f"{folder}, without {_shards.MANIFEST} or {_shards.PLAN}, but with "
            f"{found[:3]}. Pass another folder."
        )


def _contiguous(numbers: list[int]) -> Iterator[range]:
    """The numbers, in ranges without gaps."""
    indexed = enumerate(numbers)
    for _, group in itertools.groupby(indexed, lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield range(run[0], run[-1] + 1)


def _readable(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return (
                f"{size:,.0f} {unit}"
                if unit == "bytes"
                else f"{size:.1f} {unit}"
            )
        size /= 1000
    return f"{size:,.1f} TB"
