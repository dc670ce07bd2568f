"""Trains many specialists, each an independent job that can be lost."""

import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import keras

from keras_distill import _validation
from keras_distill.specialists import _jobs
from keras_distill.specialists._attempts import Progress, run
from keras_distill.specialists._build import Specialist
from keras_distill.specialists._checks import (
    check_generalist,
    class_set,
    share,
)
from keras_distill.specialists._data import examples_of
from keras_distill.specialists._digests import (
    digest_of_data,
    digest_of_generalist,
)
from keras_distill.specialists._pools import pool_of


def train_specialists(
    generalist: keras.Model,
    dataset: Any,
    class_sets: Sequence[Sequence[int]],
    folder: str | pathlib.Path,
    *,
    epochs: int = 5,
    optimizer: Any = "adam",
    batch_size: int = 64,
    full_softmax: bool = False,
    special_share: float = 0.5,
    executor: Executor | Callable[[], Executor] | None = None,
    retries: int = 2,
    seed: int = 0,
    verbose: bool = True,
) -> list[Specialist]:
    """Trains a specialist for each set of classes, and corrects its dustbin.

    Hinton et al. 2015, section 5.1: each starts from the generalist's weights
    (`build_specialist`), learns from examples of which one half is special
    (`specialist_dataset`), and has its dustbin's logit raised afterwards
    (`dustbin_correction`).

    Each specialist is a job that shares nothing with the others but `folder`.
    With `executor=None` they run one after the other; else as tasks of any
    `concurrent.futures.Executor`:

    - one machine: `lambda: ProcessPoolExecutor(4, multiprocessing.get_context(
      "spawn"))`. As a function, the pool can be made anew when one of its
      processes dies.
    - many machines: `dask.distributed.Client(...).get_executor()`, with the
      extra `distributed` and a `folder` that all of them share. Dask itself
      gives the jobs of a lost worker to another.

    After each epoch a job writes a checkpoint, from which it goes on when it is
    tried again; a finished specialist is never trained again, neither in this
    call nor in a later one with the same arguments. Every file appears whole or
    not at all.

    Args:
        generalist: As for `build_specialist`. Layers that are frozen stay so;
            of a frozen generalist only the new head is trained.
        dataset: As for `specialist_dataset`, or a function without arguments
            that makes it. A function is called in each job, so that large data
            need not be sent to the workers; a `tf.data.Dataset` cannot be.
            Arrays are recognised in a later call; what a function or a
            `tf.data.Dataset` gives is not, so use a folder for each.
        class_sets: The special classes of each specialist, for example those
            of `confusable_classes`.
        folder: Where models and checkpoints are kept.
        epochs: Passes over the special examples.
        optimizer: A Keras optimizer or its name; each job has its own copy.
        batch_size: Examples per batch.
        full_softmax: Whether the specialists keep the whole head (section 6.1).
        special_share: The share of special examples.
        executor: None, an executor, or a function that makes one, which is
            shut down at the end. Workers load the generalist from a file, so
            they must import what registers its custom layers.
        retries: How often a job that failed is tried again.
        seed: Seeds each job by `keras.utils.set_random_seed`, also in this
            process if there is no executor.
        verbose: Whether to print a line for each finished specialist.

    Returns:
        The specialists, in the order of `class_sets`.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If one does not fit the others.
        RuntimeError: If a job failed more than `retries` times; the others are
            finished first.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(10)]
    >>> generalist = keras.Sequential(layers)
    >>> x, y = np.random.rand(100, 4), np.arange(100) % 10
    >>> specialists = kd.specialists.train_specialists(
    ...     generalist, (x, y), [[1, 2, 3], [3, 4]], "specialists", epochs=1,
    ...     verbose=False,
    ... )
    >>> [specialist.model.output_shape for specialist in specialists]
    [(None, 4), (None, 3)]
    """
    check_generalist(generalist)
    num_classes = generalist.outputs[0].shape[-1]
    sets = _class_sets(class_sets, num_classes)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        _validation.count(name, value)
    _validation.at_least_zero("retries", retries, "Pass 0 to try once.")
    pool = pool_of(executor, dataset)
    examples = dataset
    if not callable(dataset):
        examples = examples_of(dataset, num_classes)
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = _jobs.Settings(
        generalist=digest_of_generalist(generalist),
        examples=digest_of_data(dataset),
        backend=keras.backend.backend(),
        optimizer=_optimizer(optimizer),
        epochs=int(epochs),
        batch_size=int(batch_size),
        full_softmax=bool(full_softmax),
        special_share=share("special_share", special_share),
        seed=int(seed),
    )
    jobs = [_jobs.Job(folder, classes, settings) for classes in sets]
    different = {job.path: job for job in jobs}.values()
    missing = [job for job in different if not job.path.exists()]
    if missing:
        _jobs.keep_generalist(generalist, missing[0])
    progress = Progress(len(different), len(missing), verbose)
    progress.start(folder)
    run(missing, examples, pool, retries, progress)
    return [Specialist(job.load(), job.classes, full_softmax) for job in jobs]


def _class_sets(
    class_sets: Sequence[Sequence[int]], num_classes: int
) -> list[list[int]]:
    sets = [
        class_set(f"class_sets[{m}]", classes, num_classes)
        for m, classes in enumerate(class_sets)
    ]
    if not sets:
        raise ValueError(
            "`class_sets` must hold at least one set. Received: none. See "
            "kd.specialists.confusable_classes."
        )
    return sets


def _optimizer(optimizer: Any) -> dict:
    config = keras.optimizers.serialize(keras.optimizers.get(optimizer))
    _remove_names(config)
    return config


def _remove_names(config: dict) -> None:
    """Optimizers' own names, in which Keras counts them."""
    if "config" in config:
        config["config"].pop("name", None)
        for value in config["config"].values():
            if isinstance(value, dict):
                _remove_names(value)
