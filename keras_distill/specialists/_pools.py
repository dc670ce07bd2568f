"""Where jobs run: here, or as tasks of an executor, whole or broken."""

import concurrent.futures as futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from keras_distill._data import is_tf_dataset
from keras_distill.specialists import _jobs

Executor = futures.Executor


class Pool(NamedTuple):
    """An executor for a `with` statement.

    Attributes:
        make: Gives it.
        renewable: Whether each call of `make` gives another.
    """

    make: Callable[[], contextlib.AbstractContextManager[Executor]]
    renewable: bool


def pool_of(executor: Any, dataset: Any) -> Pool | None:
    """The pool of what `train_specialists` was given; None to run jobs here."""
    if executor is None:
        return None
    if is_tf_dataset(dataset):
        raise TypeError(
            "A tf.data.Dataset cannot be sent to other processes. Received: "
            "an executor and a tf.data.Dataset. Pass a function, defined in a "
            "module, that makes the dataset."
        )
    if isinstance(executor, Executor):
        _require_spawn(executor)
        return Pool(lambda: contextlib.nullcontext(executor), False)
    if not callable(executor):
        raise TypeError(
            "`executor` must be None, a concurrent.futures.Executor, or a "
            f"function that makes one. Received: executor={executor!r}. For "
            "dask pass client.get_executor()."
        )
    return Pool(executor, True)


def _require_spawn(executor: Executor) -> None:
    """Refuses pools that fork: the threads of a backend do not survive it."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork this process, whose backend has threads. "
            "Received: a pool with the start method 'fork'. Pass "
            "ProcessPoolExecutor(n, multiprocessing.get_context('spawn'))."
        )


def outcomes(jobs: list, dataset: Any, pool: Pool | None) -> Iterator[tuple]:
    """Pairs of a job and its report, or the error that it failed by."""
    if pool is None:
        return _here(jobs, dataset)
    return _elsewhere(jobs, dataset, pool)


def _here(jobs: list, dataset: Any) -> Iterator[tuple]:
    for job in jobs:
        try:
            yield job, _jobs.train(job, dataset)
        except Exception as error:
            yield job, error


def _elsewhere(jobs: list, dataset: Any, pool: Pool) -> Iterator[tuple]:
    with pool.make() as executor:
        _require_spawn(executor)
        running = {_submitted(executor, job, dataset): job for job in jobs}
        try:
            for done in futures.as_completed(running):
                yield running[done], _outcome(running[done], done)
        finally:  # Also when this process is interrupted.
            for future in running:
                future.cancel()


def _outcome(job: _jobs.Job, done: futures.Future) -> Any:
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
