"""Runs a teacher over a dataset, shard by shard; may be stopped at any time."""

import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _files, _validation
from keras_distill._keras.frozen import FrozenModel
from keras_distill.cache import _records, _shards
from keras_distill.cache._sources import Source, source

# A shard is what a killed build can lose at most.
_SHARD_EXAMPLES, _SHARD_BYTES = 8192, 2**26


def read_json(folder: pathlib.Path) -> dict | None:
    """A folder's manifest or else its plan, None if it holds neither."""
    for name in (_shards.MANIFEST, _shards.PLAN):
        if (folder / name).exists():
            return _shards.read_json(folder / name)
    return None


class Builder:
    """One build: a teacher, a source, a folder and the plan they make."""

    def __init__(
        self,
        teacher: keras.Model,
        dataset: Any,
        folder: pathlib.Path,
        *,
        dtype: str,
        top_k: int | None,
        batch_size: int,
        shard_examples: int | None,
        verbose: bool,
    ) -> None:
        self.folder, self.verbose = folder, verbose
        frozen = FrozenModel(teacher)
        fingerprint = frozen.fingerprint
        self.source = source(dataset, batch_size, _input_shapes(teacher))
        x = self.source.first()
        _check_repeatable(x, self.source.first())
        self._forward = frozen.compiled()
        logits = _one_output(self._dispatch(x))
        _validation.values(logits, None)
        self.layout = _records.Layout(logits.shape[1:], dtype, top_k)
        self.layout.check_range(logits)
        self.plan: dict[str, Any] = {
            "format": _shards.FORMAT,
            "version": _shards.VERSION,
            "teacher": fingerprint,
            "dataset": _fingerprint(self.source, x),
            "logits": self.layout.to_json(),
            "batches_per_shard": self._batches_per_shard(shard_examples),
        }

    def _dispatch(self, x: Any) -> Any:
        convert = keras.ops.convert_to_tensor
        return self._forward(keras.tree.map_structure(convert, x))

    def _batches_per_shard(self, examples: int | None) -> int:
        if examples is None:
            size = self.layout.numpy_dtype.itemsize
            examples = max(1, min(_SHARD_EXAMPLES, _SHARD_BYTES // size))
        return max(1, int(examples) // self.source.batch_size)

    @property
    def shards(self) -> int:
        return -(-self.source.batches // self.plan["batches_per_shard"])

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
        self._announce(len(finished), missing)
        if new:
            plan = _shards.to_bytes(self.plan)
            _files.write_atomically(self.folder / _shards.PLAN, plan)
        progress = self._progress(missing)
        for run in _contiguous(missing):
            self._make(run, progress)

    def _require_same_plan(self) -> bool:
        """Whether the folder is new; refuses one with something else."""
        # Listed first: another worker may write its plan in between.
        names = sorted(path.name for path in self.folder.iterdir())
        present = read_json(self.folder)
        if present is None:
            _require_empty(self.folder, names)
            return True
        require_same_plan(self.folder, present, self.plan)
        examples = present.get("examples")
        if examples and self.source.examples not in (None, examples):
            raise ValueError(
                f"{self.folder} holds a teacher cache of another dataset. "
                f"Received: {self.source.examples} examples, expected "
                f"{examples}. Nothing was changed. Pass another folder."
            )
        return False

    def _announce(self, finished: int, missing: list[int]) -> None:
        """Tells the size of the build, and refuses one without room."""
        size = self.layout.numpy_dtype.itemsize
        batches = sum(len(self._batches_of(shard)) for shard in missing)
        needed = batches * self.source.batch_size * size
        free = shutil.disk_usage(self.folder).free
        room = f"{_readable(needed)} needed, {_readable(free)} free"
        if self.verbose:
            kept = f"top {self.layout.top_k} of " if self.layout.top_k else ""
            print(
                f"Teacher cache in {self.folder}: {kept}"
                f"{self.layout.classes:,} classes in {self.layout.dtype}, "
                f"{size:,} bytes per example, {room}; {finished} of "
                f"{self.shards} shards are there."
            )
        if needed > free:
            raise ValueError(
                f"The disk lacks room for the cache. Received: {room} in "
                f"{self.folder}. Pass another folder, dtype='float16', or "
                "top_k to keep the largest logits only."
            )

    def _batches_of(self, shard: int) -> range:
        per_shard = self.plan["batches_per_shard"]
        start = shard * per_shard
        return range(start, min(start + per_shard, self.source.batches))

    def _progress(self, missing: list[int]) -> Any:
        if not (self.verbose and missing):
            return None
        batches = sum(len(self._batches_of(shard)) for shard in missing)
        return keras.utils.Progbar(batches, unit_name="batch")

    def _make(self, run: range, progress: Any) -> None:
        last = self._batches_of(run[-1])
        inputs = self.source.inputs(self._batches_of(run[0]).start, last.stop)
        records = self._records(inputs)
        # A shard is written while the teacher is busy with the next one.
        with ThreadPoolExecutor(1) as writer:
            write = writer.submit(lambda: None)
            for shard in run:
                found = self._shard(shard, records, progress)
                write.result()
                write = writer.submit(
                    _shards.write_shard, self.folder, shard, found
                )
            write.result()

    def _shard(
        self, shard: int, records: Iterator[np.ndarray], progress: Any
    ) -> np.ndarray:
        parts = []
        for _ in self._batches_of(shard):
            parts.append(self._next(records, shard))
            if progress:
                progress.add(1)
        self._require_full(parts, shard)
        return np.concatenate(parts)

    @staticmethod
    def _next(records: Iterator[np.ndarray], shard: int) -> np.ndarray:
        for part in records:
            return part
        raise ValueError(
            "The dataset ended before its last batch. Received: no more "
            f"batches in shard {shard}. It must hold the same examples in "
            "each pass."
        )

    def _require_full(self, parts: list[np.ndarray], shard: int) -> None:
        # The last batch of the dataset alone may be smaller.
        size, last = self.source.batch_size, shard == self.shards - 1
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

    def _records(self, inputs: Iterator[Any]) -> Iterator[np.ndarray]:
        """Records of each batch; the next one is computed meanwhile."""
        waiting = None
        for x in inputs:
            batch = (self._dispatch(x), x)
            if waiting is not None:
                yield self._encode(*waiting)
            waiting = batch
        if waiting is not None:
            yield self._encode(*waiting)

    def _encode(self, outputs: Any, x: Any) -> np.ndarray:
        logits = _records.to_float32(outputs)
        return self.layout.encode(logits, _checksums.checks(x))

    def finish(self) -> None:
        """Writes the manifest, and removes what is not part of the cache."""
        paths = _shards.finished_shards(self.folder)
        shards = [_shards.describe(paths[n]) for n in sorted(paths)]
        examples = sum(shard["examples"] for shard in shards)
        manifest = {**self.plan, "shards": shards, "examples": examples}
        path = self.folder / _shards.MANIFEST
        data = _shards.to_bytes(manifest)
        if not path.exists() or path.read_bytes() != data:
            _files.write_atomically(path, data)
        (self.folder / _shards.PLAN).unlink(missing_ok=True)
        for rest in self.folder.glob(_shards.TEMPORARY):
            rest.unlink(missing_ok=True)


def _one_output(outputs: Any) -> np.ndarray:
    """A teacher's logits; refuses what its graph did not tell beforehand."""
    if keras.tree.is_nested(outputs):
        raise ValueError(
            "`teacher` must have one output. Received: outputs in a "
            f"{type(outputs).__name__}. Make one model per output first."
        )
    shape = tuple(outputs.shape)
    if len(shape) < 2 or shape[-1] < 2:
        raise ValueError(
            "`teacher` must have one output unit per class. Received: outputs "
            f"of shape {shape}. Give a binary classifier two units."
        )
    return _records.to_float32(outputs)


def _input_shapes(teacher: Any) -> list[tuple] | None:
    """Shapes of one example's inputs, None where they are not known."""
    if hasattr(teacher, "members"):  # Those of an ensemble's first member.
        return _input_shapes(teacher.members[0])
    if getattr(teacher, "inputs", None):
        return [tuple(tensor.shape[1:]) for tensor in teacher.inputs]
    shape = (teacher.get_build_config() or {}).get("input_shape")
    return [shape[1:] for shape in _leaves(shape)] if shape else None


def _leaves(shape: Any) -> list[tuple]:
    """The shapes in a structure of shapes, which are tuples themselves."""
    if isinstance(shape, dict):
        shape = [shape[name] for name in sorted(shape)]
    if all(size is None or isinstance(size, int) for size in shape):
        return [tuple(shape)]
    return [leaf for part in shape for leaf in _leaves(part)]


def _check_repeatable(first: Any, again: Any) -> None:
    if not np.array_equal(_checksums.checks(first), _checksums.checks(again)):
        raise ValueError(
            "The dataset must give the same inputs in the same order each "
            "time. Received: a first batch that changed when it was read "
            "again. Build before shuffle() and random augmentation; to cache "
            "augmented views, give the augmentation fixed seeds."
        )


def _fingerprint(data: Source, first: Any) -> dict:
    return {
        "inputs": _checksums.spec(first),
        "batches": int(data.batches),
        "batch_size": int(data.batch_size),
        "first_inputs_crc32": _checksums.checks(first)[:16].tolist(),
    }


def _require_empty(folder: pathlib.Path, names: list[str]) -> None:
    found = [name for name in names if not name.endswith(".tmp")]
    if found:
        raise ValueError(
            f"`folder` must be empty or hold a teacher cache. Received: "
            f"{folder}, without {_shards.MANIFEST} or {_shards.PLAN}, but with "
            f"{found[:3]}. Pass another folder."
        )


def require_same_plan(folder: pathlib.Path, present: dict, plan: dict) -> None:
    """Refuses to go on with a cache of something else; loses nothing."""
    reasons = {
        "teacher": "another teacher, or the same one with other weights",
        "dataset": "another dataset, order of examples or batch size",
        "logits": "another dtype, top_k or number of classes",
        "batches_per_shard": "another shard size",
    }
    for key, reason in reasons.items():
        if present[key] != plan[key]:
            raise ValueError(
                f"{folder} holds a teacher cache of something else: {reason}. "
                f"Received: {key}={_short(plan[key])}, expected "
                f"{_short(present[key])}. Nothing was changed. Pass the same "
                "arguments as before, or another folder."
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 300 else f"{text[:297]}..."


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
