"""Teacher logits computed once, kept on disk, and joined to the examples.

The cache is a folder of plain `.npy` shards and a JSON manifest; see
`_shards.py` for the reason, and `_records.py` for what a record holds.
"""

import os
import pathlib
from typing import Any

import keras
import numpy as np

from keras_distill import _attached, _checksums, _validation
from keras_distill._keras import graph
from keras_distill._keras.frozen import FrozenModel
from keras_distill.cache import _records, _shards, _sources
from keras_distill.cache._build import Builder

_ATTACH_BATCH = 256
_ORDER_ADVICE = (
    "The dataset is shuffled, augmented, filtered or another one than when the "
    "cache was built. Attach before shuffle() and random augmentation, with "
    "the same preprocessing; to cache augmented views, give the augmentation "
    "fixed seeds."
)


class TeacherCache:
    """A teacher's logits for every example of a dataset, on disk.

    `TeacherCache.build` runs the teacher once; `cache.attach(dataset)` joins
    the logits to the examples, and a `kd.Distiller` without a teacher trains
    any number of students from them, at about the cost of plain training.
    Logits are stored, not probabilities, so every loss and temperature can be
    used.

    Each record holds a checksum of its example's inputs, which is compared
    whenever logits are joined: a shuffled, augmented or different dataset is
    refused rather than trained on with wrong targets. Shards are compared with
    their SHA-256 when they are first read.

    Args:
        folder: Where the cache was built.
        teacher: If given, refuse a cache that another teacher made.

    Returns:
        The opened cache.

    Raises:
        ValueError: If there is no cache, or one that is unfinished, damaged or
            made by another teacher.

    Example:

    >>> def classifier(units):
    ...     layers = [keras.Input((4,)), keras.layers.Dense(units, "relu")]
    ...     return keras.Sequential([*layers, keras.layers.Dense(3)])
    >>> teacher, student = classifier(32), classifier(2)
    >>> x, y = np.random.rand(8, 4), np.arange(8) % 3
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> cache = kd.TeacherCache.build(teacher, (x, y), folder, verbose=0)
    >>> distiller = kd.Distiller(None, student, kd.losses.SoftTargets(4.0))
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> distiller.compile("adam", loss)
    >>> history = distiller.fit(cache.attach((x, y)), epochs=2, verbose=0)
    >>> sorted(history.history)
    ['hard_loss', 'loss', 'soft_loss']
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        teacher: keras.Model | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.manifest = _read_manifest(self.folder)
        self._layout = _records.Layout.from_json(self.manifest["logits"])
        dataset = self.manifest["dataset"]
        self._records = _shards.Shards(
            self.folder,
            self.manifest["shards"],
            self._layout.numpy_dtype,
            self.manifest["batches_per_shard"] * dataset["batch_size"],
        )
        if teacher is not None:
            self._require_teacher(teacher)

    @classmethod
    def build(
        cls,
        teacher: keras.Model,
        dataset: Any,
        folder: str | os.PathLike,
        *,
        dtype: str = "float16",
        top_k: int | None = None,
        batch_size: int = 128,
        shard_examples: int | None = None,
        verbose: int | bool = True,
    ) -> "TeacherCache":
        """Runs a teacher over a dataset and keeps its logits.

        A build that was stopped, by whatever means, goes on where it stopped
        when it is called again with the same arguments, and gives the same
        bytes. If the cache is complete, it is opened.

        Args:
            teacher: A Keras model that ends in logits, shape `(batch, ...,
                classes)`, with one output.
            dataset: Arrays `x`, `(x, y)` or `(x, y, sample_weight)`, a
                `tf.data.Dataset` or grain `MapDataset` of examples or of
                batches, or a `keras.utils.PyDataset`. It must give the same
                inputs in the same order in each pass.
            folder: Where to put the cache: an empty or a new folder, or one
                with a part of this cache.
            dtype: "float16", "float32" or "bfloat16".
            top_k: Keep this many logits of each example, and the exact log of
                the mass of the others, which is spread over them evenly when
                the cache is used. None keeps all.
            batch_size: Examples per batch, for datasets without batches.
            shard_examples: Examples per shard, rounded down to whole batches.
                By default at most 8,192, and at most 64 MiB.
            verbose: Whether to print the size of the cache and the progress.

        Returns:
            The finished `TeacherCache`.

        Raises:
            ValueError: If the teacher's outputs cannot be cached, if the
                dataset is not the same in each pass, if the disk lacks room,
                or if the folder holds something else.
            OSError: If a file cannot be written; finished shards are kept.
        """
        builder = _builder(
            teacher,
            dataset,
            folder,
            dtype=dtype,
            top_k=top_k,
            batch_size=batch_size,
            shard_examples=shard_examples,
            verbose=verbose,
        )
        builder.run(range(builder.shards))
        builder.finish()
        return cls(folder)

    @classmethod
    def build_part(
        cls,
        teacher: keras.Model,
        dataset: Any,
        folder: str | os.PathLike,
        *,
        worker: int,
        num_workers: int,
        **arguments: Any,
    ) -> None:
        """Makes every shard of one of several independent workers.

        The workers share a folder and nothing else. When all are done, one
        call of `build` with the same arguments joins their shards, and makes
        those that a lost worker did not finish.

        Args:
            teacher: As in `build`, the same for each worker.
            dataset: As in `build`, the whole dataset for each worker; a worker
                reads its part of it.
            folder: The folder that all workers share.
            worker: Number of this worker, from 0.
            num_workers: Number of all workers.
            **arguments: The other arguments of `build`.

        Raises:
            ValueError: As `build`, and if there is no such worker.
            OSError: As `build`.
        """
        _validation.worker(worker, num_workers)
        builder = _builder(teacher, dataset, folder, **arguments)
        start = worker * builder.shards // num_workers
        stop = (worker + 1) * builder.shards // num_workers
        builder.run(range(start, stop))

    def __len__(self) -> int:
        return self.manifest["examples"]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._layout.classes

    @property
    def teacher_fingerprint(self) -> str:
        """SHA-256 of the teacher's architecture and weights."""
        return self.manifest["teacher"]

    def logits(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Logits of examples `start` to `stop`, in the order of the dataset.

        Args:
            start: Number of the first example.
            stop: Number after that of the last, the end by default.

        Returns:
            float32 array of shape `(stop - start, ..., classes)`; with top-k,
            the mass of the tail is spread evenly.
        """
        stop = len(self) if stop is None else stop
        self._require_range(start, stop)
        found = self._layout.decode(self._records.read(start, stop))
        return _records.to_float32(_attached.dense(found))

    def attach(self, dataset: Any) -> Any:
        """Joins the logits to the examples that they were computed for.

        Args:
            dataset: What the cache was built from, before any shuffling: of
                the same kind or another, in batches of any size.

        Returns:
            A dataset of the same kind, to be shuffled, batched and repeated as
            usual, whose inputs are `kd.WithTeacherLogits`. Arrays become a
            tuple that a Distiller's `fit` takes as its `x`; their logits are
            read into memory, as the arrays are.

        Raises:
            ValueError: If the inputs are not those that the teacher saw. What
                cannot be seen at once is found when the batch is read.
        """
        source = _sources.source(dataset, _ATTACH_BATCH, self._example_shapes())
        first, again = source.first(), source.first()
        self._require_inputs(first)
        self._require_count(source)
        like = self.lookup(0, first)
        self.lookup(0, again)
        return source.attach(self.lookup, like)

    def verify(self) -> None:
        """Reads every shard and compares it with its checksum.

        Raises:
            ValueError: At the first damaged file.
        """
        for shard in _read_manifest(self.folder)["shards"]:
            _shards.check_digest(self.folder / shard["file"])

    def lookup(self, start: int, x: Any) -> Any:
        """The logits of a batch, once it is clear that they belong to it.

        Args:
            start: Number of the batch's first example.
            x: The batch's inputs, with the batch axis first.

        Returns:
            Logits of shape `(batch, ..., classes)`, in the cache's dtype.

        Raises:
            ValueError: If these are not the inputs that the teacher saw.
        """
        stop = start + _checksums.rows(x)
        self._require_range(start, stop)
        records = self._records.read(start, stop)
        wrong = np.flatnonzero(records["inputs_crc32"] != _checksums.checks(x))
        if wrong.size:
            raise ValueError(
                "The inputs are not those that the teacher saw. Received: "
                f"{wrong.size} of {stop - start} examples with another "
                f"checksum, first example {start + wrong[0]}. {_ORDER_ADVICE}"
            )
        return self._layout.decode(records)

    def _example_shapes(self) -> list[tuple]:
        inputs = self.manifest["dataset"]["inputs"]
        return [tuple(leaf["shape"]) for leaf in inputs]

    def _require_teacher(self, teacher: keras.Model) -> None:
        _validation.is_model("teacher", teacher)
        fingerprint = FrozenModel(teacher).fingerprint
        if fingerprint != self.teacher_fingerprint:
            raise ValueError(
                "This cache was made by another teacher. Received: a teacher "
                f"with fingerprint {fingerprint[:12]}..., expected "
                f"{self.teacher_fingerprint[:12]}... Build a cache for it in "
                "another folder."
            )

    def _require_inputs(self, x: Any) -> None:
        expected, found = self.manifest["dataset"]["inputs"], _checksums.spec(x)
        if found != expected:
            raise ValueError(
                "The dataset is not the one that the cache was built from. "
                f"Received: inputs {found}, expected {expected}. Apply the "
                "same preprocessing as before."
            )

    def _require_count(self, source: _sources.Source) -> None:
        sizes = {-(-len(self) // source.batch_size)}
        sizes.add(len(self) // source.batch_size)  # drop_remainder
        wrong = source.examples not in (None, len(self))
        if wrong or source.batches not in sizes:
            raise ValueError(
                "The dataset is not the one that the cache was built from. "
                f"Received: {source.batches} batches of {source.batch_size} "
                f"examples, expected {len(self)} examples. Attach to all of "
                "them, before filter(), take() and repeat()."
            )

    def _require_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(self):
            raise ValueError(
                "The cache does not hold these examples. Received: examples "
                f"{start} to {stop}, expected a range within 0 to {len(self)}."
            )

    def __reduce__(self) -> tuple:
        # Data loaders with processes open the cache anew.
        return type(self), (self.folder,)

    def __repr__(self) -> str:
        k = self._layout.top_k
        kept = f"top {k} of " if k else ""
        return (
            f"<TeacherCache {str(self.folder)!r}: {len(self):,} examples, "
            f"{kept}{self.classes:,} classes, {self._layout.dtype}>"
        )


def _builder(
    teacher: keras.Model,
    dataset: Any,
    folder: str | os.PathLike,
    *,
    dtype: str = "float16",
    top_k: int | None = None,
    batch_size: int = 128,
    shard_examples: int | None = None,
    verbose: int | bool = True,
) -> Builder:
    _validation.is_model("teacher", teacher)
    _validation.one_output("teacher", teacher)
    graph.require_logits("teacher", teacher)
    _validation.not_empty("dataset", dataset)
    _validation.count("batch_size", batch_size)
    if shard_examples is not None:
        _validation.count("shard_examples", shard_examples)
    return Builder(
        teacher,
        dataset,
        pathlib.Path(folder),
        dtype=dtype,
        top_k=top_k,
        batch_size=batch_size,
        shard_examples=shard_examples,
        verbose=bool(verbose),
    )


def _read_manifest(folder: pathlib.Path) -> dict:
    path = folder / _shards.MANIFEST
    if not path.exists():
        raise ValueError(_without_manifest(folder))
    manifest = _shards.read_json(path)
    for shard in manifest["shards"]:
        file = folder / shard["file"]
        size = file.stat().st_size if file.exists() else None
        if size != shard["bytes"]:
            raise ValueError(
                "A shard of the teacher cache is missing or cut off. Received: "
                f"{file} of {size} bytes, expected {shard['bytes']}. Delete "
                "it if it is there, and call kd.TeacherCache.build again with "
                "the same teacher and dataset: only this shard is made anew."
            )
    return manifest


def _without_manifest(folder: pathlib.Path) -> str:
    done = len(list(folder.glob("shard-*.npy")))
    if (folder / _shards.PLAN).exists():
        return (
            f"This teacher cache is unfinished. Received: {folder} with {done} "
            "shards and no manifest. Call kd.TeacherCache.build again with the "
            "same teacher and dataset to finish it."
        )
    return (
        f"There is no teacher cache. Received: {folder}, which holds {done} "
        f"shards and no {_shards.MANIFEST}. Build one with "
        "kd.TeacherCache.build, or restore the manifest."
    )
