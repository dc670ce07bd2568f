"""Teacher logits computed once, kept on disk, and joined to the examples.

The cache is a folder of plain `.npy` shards and a JSON manifest; see
`_shards.py` for the reason, and `_records.py` for what a record holds.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill import _attached, _checksums, _validation
from keras_distill.cache import _records, _refusals, _shards
from keras_distill.cache._build import prepare
from keras_distill.cache._plan import Options
from keras_distill.cache._sources import source

_ATTACH_BATCH = 256


class TeacherCache:
    """A teacher's logits for every example of a dataset, on disk.

    `TeacherCache.build` runs the teacher once; `cache.attach(dataset)` joins
    the logits to the examples, and a `kd.Distiller` without a teacher trains
    any number of students from them, at about the cost of plain training.
    Logits are stored, not probabilities, so every loss and temperature can be
    used; those of labels that do not exclude each other with `top_k=None`.

    Sequences are padded to one length, the same in all batches. The padding is
    left out of all losses by a mask of the student, as `Embedding(
    mask_zero=True)` makes one, or by a `sample_weight` of shape `(batch, time)`
    that is 0 there. Labels that `ignore_class` names do not leave it out: they
    are examples without a label, of which the teacher's word still counts.

    Each record holds a checksum of its example's inputs, which is compared
    whenever logits are joined: a shuffled, augmented or different dataset is
    refused rather than trained on with wrong targets. Shards are compared with
    their SHA-256 when they are first read.

    Args:
        folder: Where the cache was built.
        teacher: If given, refuse a cache that another teacher made.
        fingerprint: The same for a teacher that is a function.

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
        teacher: keras.Model | Callable | None = None,
        *,
        fingerprint: str | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.manifest = _shards.read_manifest(self.folder)
        self._layout = _records.Layout.from_json(self.manifest["logits"])
        dataset = self.manifest["dataset"]
        self._records = _shards.Shards(
            self.folder,
            self.manifest["shards"],
            self._layout.numpy_dtype,
            self.manifest["batches_per_shard"] * dataset["batch_size"],
        )
        known = self.teacher_fingerprint
        _refusals.require_teacher(known, teacher, fingerprint)

    @classmethod
    def build(
        cls,
        teacher: keras.Model | Callable[[Any], Any],
        dataset: Any,
        folder: str | os.PathLike,
        *,
        fingerprint: str | None = None,
        dtype: str = "float16",
        top_k: int | None = None,
        batch_size: int = 128,
        shard_examples: int | None = None,
        verbose: int | bool = True,
    ) -> "TeacherCache":
        """Runs a teacher over a dataset and keeps its logits.

        A build that was stopped, by whatever means, goes on where it stopped
        when it is called again with the same arguments, and gives the same
        bytes. If the cache is complete, it is opened after a look at a batch.

        Several processes may call it at once, with one folder or each with its
        own. Each computes all of it; a teacher that is spread over processes of
        JAX by `keras.distribution.ModelParallel` they run together, and must
        all call it, with the same dataset.

        Args:
            teacher: A Keras model that ends in logits, shape `(batch, ...,
                classes)`, with one output; or any function that gives them. It
                is called with the inputs of each batch, as NumPy arrays, and
                returns an array, a tensor of any library, or a list of rows.
            dataset: Arrays `x`, `(x, y)` or `(x, y, sample_weight)`, a
                `tf.data.Dataset` or grain `MapDataset` of examples or of
                batches, or a `keras.utils.PyDataset`. It must give the same
                inputs in the same order in each pass. A function's input shapes
                are not known, so that datasets must hold batches for it.
            folder: Where to put the cache: an empty or a new folder, or one
                with a part of this cache.
            fingerprint: Tells a function from other teachers, such as
                "my-model@v3", and is kept in the place of a model's own. Give
                another one when the function gives other logits.
            dtype: "float16", "float32" or "bfloat16".
            top_k: Keep this many logits of each example, and the exact log of
                the mass of the others, which is spread over them evenly when
                the cache is used. `SoftTargets`, `TTM`, `WTTM` and
                `HardLabels`, without an `example_weight`, then take less memory
                and time than with all of a large vocabulary; any other loss
                has them made into all. None keeps all.
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

        Example:

        >>> import tempfile
        >>> x, weights = np.random.rand(8, 4), np.random.rand(4, 3)
        >>> def teacher(x):  # Or ask a server, a torch module, a table.
        ...     return x @ weights
        >>> cache = kd.TeacherCache.build(
        ...     teacher, x, tempfile.mkdtemp(), fingerprint="mine@v3", verbose=0
        ... )
        >>> cache.logits(0, 2).shape
        (2, 3)
        """
        options = Options(dtype, top_k, batch_size, shard_examples, verbose)
        build = prepare(teacher, fingerprint, dataset, folder, options)
        build.run(range(build.plan.shards))
        build.finish()
        return cls(folder)

    @classmethod
    def build_part(
        cls,
        teacher: keras.Model | Callable[[Any], Any],
        dataset: Any,
        folder: str | os.PathLike,
        *,
        worker: int,
        num_workers: int,
        fingerprint: str | None = None,
        dtype: str = "float16",
        top_k: int | None = None,
        batch_size: int = 128,
        shard_examples: int | None = None,
        verbose: int | bool = True,
    ) -> None:
        """Makes every shard of one of several independent workers.

        The workers share a folder and nothing else. When all are done, one
        call of `build` with the same arguments joins their shards, and makes
        those that a lost worker did not finish.

        On several hosts of JAX: `worker=jax.process_index(),
        num_workers=jax.process_count()`, where each process has all of the
        teacher. Processes over which one is spread are one worker together.

        Args:
            teacher: As in `build`, the same for each worker.
            dataset: As in `build`, the whole dataset for each worker; a worker
                reads its part of it.
            folder: The folder that all workers share.
            worker: Number of this worker, from 0.
            num_workers: Number of all workers.
            fingerprint, dtype, top_k, batch_size, shard_examples, verbose: As
                in `build`, the same for each worker but for `verbose`.

        Raises:
            ValueError: As `build`, and if there is no such worker.
            OSError: As `build`.
        """
        _validation.worker(worker, num_workers)
        options = Options(dtype, top_k, batch_size, shard_examples, verbose)
        build = prepare(teacher, fingerprint, dataset, folder, options)
        build.require_one_part(worker, num_workers)
        shards = build.plan.shards
        start = worker * shards // num_workers
        build.run(range(start, (worker + 1) * shards // num_workers))

    def __len__(self) -> int:
        return self.manifest["examples"]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._layout.classes

    @property
    def teacher_fingerprint(self) -> str:
        """SHA-256 of a model's architecture and weights, or a function's."""
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
        _refusals.require_range(start, stop, len(self))
        found = self._layout.decode(self._records.read(start, stop))
        return _records.to_float32(_attached.dense(found))

    def attach(self, dataset: Any) -> Any:
        """Joins the logits to the examples that they were computed for.

        What comes after it sees inputs and logits as one pair, and changes the
        inputs alone with `_replace`, for example in a `tf.data.Dataset`:
        `.map(lambda x, y: (x._replace(inputs=augment(x.inputs)), y))`.

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
        inputs = self.manifest["dataset"]["inputs"]
        shapes = [tuple(leaf["shape"]) for leaf in inputs]
        found = source(dataset, _ATTACH_BATCH, shapes)
        first, again = found.first(), found.first()
        _refusals.require_inputs(first, inputs)
        _refusals.require_count(found, len(self))
        like = self.lookup(0, first)
        self.lookup(0, again)
        return found.attach(self.lookup, like)

    def verify(self) -> None:
        """Reads every shard and compares it with its checksum.

        Raises:
            ValueError: At the first damaged file.
        """
        for shard in _shards.read_manifest(self.folder)["shards"]:
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
        _refusals.require_range(start, stop, len(self))
        records = self._records.read(start, stop)
        _refusals.require_checks(start, _checksums.checks(x), records)
        return self._layout.decode(records)

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
