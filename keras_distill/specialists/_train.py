"""Trains many specialists, each an independent job that can be lost."""

import concurrent.futures as futures
import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_distill import _validation
from keras_distill.specialists import _jobs
from keras_distill.specialists._build import (
    Specialist,
    check_generalist,
    class_set,
    share,
)
from keras_distill.specialists._data import check_dataset

Executor = futures.Executor


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
    sets = [
        class_set(f"class_sets[{m}]", classes, num_classes)
        for m, classes in enumerate(class_sets)
    ]
    if not sets:
        raise ValueError(
            "`class_sets` must hold at least one set. Received: none. See "
            "kd.specialists.confusable_classes."
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        _validation.count(name, value)
    _validation.at_least_zero("retries", retries, "Pass 0 to try once.")
    if not callable(dataset):
        check_dataset(dataset, num_classes)
    make_executor = _executor(executor, dataset)
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = _jobs.Settings(
        generalist=_jobs.digest_of(generalist),
        examples=_jobs.examples_of(dataset),
        backend=keras.backend.backend(),
        optimizer=_optimizer(optimizer),
        epochs=int(epochs),
        batch_size=int(batch_size),
        full_softmax=bool(full_softmax),
        special_share=share("special_share", special_share),
        seed=int(seed),
    )
    jobs = [_jobs.Job(folder, classes, settings) for classes in sets]
    missing = [job for job in jobs if not job.path.exists()]
    if missing:
        _jobs.keep_generalist(generalist, missing[0])
    unique = {job.path: job for job in missing}
    _report(jobs, missing, verbose)
    _run(list(unique.values()), dataset, make_executor, retries, verbose)
    return [Specialist(job.load(), job.classes, full_softmax) for job in jobs]


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


def _executor(executor: Any, dataset: Any) -> Callable | None:
    """Gives an executor for a `with` statement, or None to run jobs here."""
    if executor is None:
        return None
    if type(dataset).__module__.startswith("tensorflow."):
        raise TypeError(
            "A tf.data.Dataset cannot be sent to other processes. Received: "
            "an executor and a tf.data.Dataset. Pass a function, defined in a "
            "module, that makes the dataset."
        )
    if isinstance(executor, Executor):
        _require_spawn(executor)
        return lambda: contextlib.nullcontext(executor)
    if not callable(executor):
        raise TypeError(
            "`executor` must be None, a concurrent.futures.Executor, or a "
            f"function that makes one. Received: executor={executor!r}. For "
            "dask pass client.get_executor()."
        )

    def make() -> Executor:
        return executor()

    make.makes_anew = True  # type: ignore[attr-defined]
    return make


def _require_spawn(executor: Executor) -> None:
    """Refuses pools that fork: the threads of a backend do not survive it."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork this process, whose backend has threads. "
            "Received: a pool with the start method 'fork'. Pass "
            "ProcessPoolExecutor(n, multiprocessing.get_context('spawn'))."
        )


def _report(jobs: list, missing: list, verbose: bool) -> None:
    if verbose:
        print(
            f"{len(jobs)} specialists, {len(jobs) - len(missing)} of them "
            f"finished already, in {jobs[0].folder}"
        )


def _run(
    jobs: list,
    dataset: Any,
    make_executor: Callable | None,
    retries: int,
    verbose: bool,
) -> None:
    failures: dict = {}
    errors: list = []
    groups = [jobs] if jobs else []
    while groups:
        group = groups.pop()
        if make_executor is None:
            outcomes = _here(group, dataset)
        else:
            outcomes = _elsewhere(group, dataset, make_executor)
        again, broken = [], []
        for job, outcome in outcomes:
            if not isinstance(outcome, BaseException):
                _print_done(job, outcome, verbose)
            elif _may_be_anothers_fault(outcome, group, make_executor):
                broken.append(job)
            else:
                failures[job.path] = failures.get(job.path, 0) + 1
                if failures[job.path] > retries or _is_mistake(outcome):
                    errors.append((job, outcome))
                else:
                    again.append(job)
        # By halves, until the one that kills its worker is by itself.
        half = (len(broken) + 1) // 2
        parts = (again, broken[half:], broken[:half])
        groups += [part for part in parts if part]
    if errors:
        job, error = errors[0]
        raise RuntimeError(
            f"{len(errors)} of {len(jobs)} specialists could not be trained. "
            f"That of the classes {job.classes} failed {failures[job.path]} "
            f"times, at last by {type(error).__name__}: {error} The others are "
            f"kept in {job.folder}; call again to go on."
        ) from error


def _may_be_anothers_fault(
    outcome: BaseException, group: list, make_executor: Any
) -> bool:
    """Whether a pool broke that several jobs had, and can be made anew."""
    return (
        isinstance(outcome, futures.BrokenExecutor)
        and len(group) > 1
        and getattr(make_executor, "makes_anew", False)
    )


def _is_mistake(error: BaseException) -> bool:
    """Whether an error would come again."""
    return isinstance(error, TypeError | ValueError)


def _print_done(job: Any, outcome: dict, verbose: bool) -> None:
    if verbose:
        # A job that was lost after its last epoch has no loss to show.
        loss = outcome["loss"]
        text = "" if loss is None else f"loss {loss:.4f}, "
        print(
            f"specialist of {len(job.classes)} classes: {text}natural share "
            f"{outcome['natural_share']:.3f}, {outcome['seconds']:.0f} s",
            flush=True,
        )


def _here(jobs: list, dataset: Any) -> Iterator[tuple]:
    for job in jobs:
        try:
            yield job, _jobs.train(job, dataset)
        except Exception as error:
            yield job, error


def _elsewhere(
    jobs: list, dataset: Any, make_executor: Callable
) -> Iterator[tuple]:
    with make_executor() as executor:
        _require_spawn(executor)
        running = {_submitted(executor, job, dataset): job for job in jobs}
        try:
            for done in futures.as_completed(running):
                yield running[done], _outcome(running[done], done)
        finally:  # Also when this process is interrupted.
            for future in running:
                future.cancel()


def _outcome(job: Any, done: futures.Future) -> Any:
    error = futures.CancelledError() if done.cancelled() else done.exception()
    if error is None and not job.path.exists():
        return FileNotFoundError(
            f"the job has finished, but {job.path} is not there. All workers "
            "must share the folder."
        )
    return error or done.result()


def _submitted(executor: Executor, job: Any, dataset: Any) -> futures.Future:
    try:
        return executor.submit(_jobs.train, job, dataset)
    except futures.BrokenExecutor as error:
        failed: futures.Future = futures.Future()
        failed.set_exception(error)
        return failed
