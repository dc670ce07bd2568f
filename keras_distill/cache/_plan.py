"""What a build is going to make: a value that is known before it begins."""

import pathlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_distill import _checksums, _validation
from keras_distill._keras.fingerprint import shown
from keras_distill.cache import _records, _shards, _together
from keras_distill.cache._batches import Source
from keras_distill.cache._teachers import Teacher

# A shard is what a killed build can lose at most.
_SHARD_EXAMPLES, _SHARD_BYTES = 8192, 2**26


@dataclass(frozen=True)
class Options:
    """How logits are computed and kept; see `TeacherCache.build`."""

    dtype: str
    top_k: int | None  # Its upper limit is known with the first logits.
    batch_size: int
    shard_examples: int | None
    verbose: int | bool

    def __post_init__(self) -> None:
        if self.dtype not in _records.DTYPES:
            raise ValueError(
                f"`dtype` must be one of {_records.DTYPES}. Received: dtype="
                f"{self.dtype!r}. float16 keeps 3 digits in half the space of "
                "float32; bfloat16 keeps 2, of any size."
            )
        _validation.count("batch_size", self.batch_size)
        if self.shard_examples is not None:
            _validation.count("shard_examples", self.shard_examples)


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes of a cache, but for the logits themselves."""

    teacher: str
    dataset: dict[str, Any]
    layout: _records.Layout
    batches_per_shard: int

    @property
    def batch_size(self) -> int:
        return self.dataset["batch_size"]

    @property
    def batches(self) -> int:
        return self.dataset["batches"]

    @property
    def shards(self) -> int:
        return -(-self.batches // self.batches_per_shard)

    def batches_of(self, shard: int) -> range:
        start = shard * self.batches_per_shard
        return range(start, min(start + self.batches_per_shard, self.batches))

    def to_json(self) -> dict[str, Any]:
        return {
            "format": _shards.FORMAT,
            "version": _shards.VERSION,
            "teacher": self.teacher,
            "dataset": self.dataset,
            "logits": self.layout.to_json(),
            "batches_per_shard": self.batches_per_shard,
        }


def make_plan(source: Source, teacher: Teacher, options: Options) -> Plan:
    """Looks at the first batch, and at the teacher's logits for it."""
    x = source.first()
    checks = _checksums.checks(x)
    _require_repeatable(checks, _checksums.checks(source.first()))
    dataset = _dataset(source, x, checks)
    if teacher.spread:
        kept = options.dtype, options.top_k, options.shard_examples
        _together.require_same(dataset, kept)
    logits = teacher.forward(x)()
    layout = _records.Layout(logits.shape[1:], options.dtype, options.top_k)
    layout.encode(logits, checks)  # Refuses what cannot be kept.
    return Plan(
        teacher.fingerprint,
        dataset,
        layout,
        _batches_per_shard(layout, source.batch_size, options.shard_examples),
    )


def _require_repeatable(first: np.ndarray, again: np.ndarray) -> None:
    if not np.array_equal(first, again):
        raise ValueError(
            "The dataset must give the same inputs in the same order each "
            "time. Received: a first batch that changed when it was read "
            "again. Build before shuffle() and random augmentation; to cache "
            "augmented views, give the augmentation fixed seeds."
        )


def _dataset(source: Source, x: Any, checks: np.ndarray) -> dict[str, Any]:
    return {
        "inputs": _checksums.spec(x),
        "batches": int(source.batches),
        "batch_size": int(source.batch_size),
        "first_inputs_crc32": checks[:16].tolist(),
    }


def _batches_per_shard(
    layout: _records.Layout, batch_size: int, examples: int | None
) -> int:
    if examples is None:
        size = layout.numpy_dtype.itemsize
        examples = min(_SHARD_EXAMPLES, _SHARD_BYTES // size)
    return max(1, int(examples) // int(batch_size))


# A folder that holds something else.


def require_same_plan(folder: pathlib.Path, present: dict, plan: Plan) -> None:
    """Refuses to go on with a cache of something else; loses nothing."""
    received = plan.to_json()
    found, expected = _parts(received, present), _parts(present, received)
    for what in found:
        (value, words), (other, other_words) = found[what], expected[what]
        if value != other:
            raise ValueError(another_cache(folder, what, words, other_words))


def another_cache(
    folder: pathlib.Path, what: str, found: str, expected: str
) -> str:
    """The error of a build in a folder that holds another cache."""
    return (
        f"{folder} holds a teacher cache of something else: {what}. Received: "
        f"{found}, expected {expected}. Nothing was changed. Pass the same "
        "arguments as before to go on with it, or another folder; to replace "
        "it, delete this folder first."
    )


def _parts(plan: dict, other: dict) -> dict[str, tuple[Any, str]]:
    """Each part of a plan, and the same in the words of its user."""
    data, logits = plan["dataset"], plan["logits"]
    inputs, first = data["inputs"], data["first_inputs_crc32"]
    found = _checksums.in_words(inputs, other["dataset"]["inputs"])
    batch_size, batches = data["batch_size"], data["batches"]
    per_shard = plan["batches_per_shard"]
    return {
        "another teacher, or the same one with other weights": (
            plan["teacher"],
            f"teacher {shown(plan['teacher'])}",
        ),
        "other inputs": (inputs, found),
        "another batch size": (batch_size, f"batches of {batch_size} examples"),
        "another number of batches": (batches, f"{batches} batches"),
        "another dataset, or another order of its examples": (
            first,
            "a first batch with checksum "
            f"{zlib.crc32(str(first).encode()):08x}",
        ),
        "other logits": (
            logits["shape"],
            f"logits of shape {tuple(logits['shape'])}",
        ),
        "another dtype": (logits["dtype"], f"dtype={logits['dtype']!r}"),
        "another top_k": (logits["top_k"], f"top_k={logits['top_k']}"),
        "another shard size": (
            per_shard,
            f"shards of {per_shard * batch_size} examples",
        ),
    }
