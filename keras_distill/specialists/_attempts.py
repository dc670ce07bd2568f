"""Jobs that are tried until they are finished, or have failed too often."""

import collections
import pathlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

from keras_distill.specialists._jobs import Job
from keras_distill.specialists._pools import Pool, outcomes


class Progress:
    """Prints a line for each specialist that is finished, of how many."""

    def __init__(self, specialists: int, missing: int, verbose: bool) -> None:
        self._total, self._verbose = specialists, verbose
        self._finished = specialists - missing

    def start(self, folder: pathlib.Path) -> None:
        if self._verbose:
            print(
                f"{self._total} specialists, {self._finished} of them finished "
                f"already, in {folder}"
            )

    def finished(self, job: Job, report: dict) -> None:
        self._finished += 1
        if not self._verbose:
            return
        # A job that was lost after its last epoch has no loss to show.
        loss = report["loss"]
        text = "" if loss is None else f"loss {loss:.4f}, "
        print(
            f"{self._finished} of {self._total}, specialist of "
            f"{len(job.classes)} classes: {text}natural share "
            f"{report['natural_share']:.3f}, {report['seconds']:.0f} s",
            flush=True,
        )


class Attempts:
    """Which jobs are to be tried together, and which failed too often.

    A pool that breaks takes all its jobs with it, though the fault may be one
    job's. Where it can be made anew, they are tried by halves, until the one
    that kills its worker is by itself.
    """

    def __init__(self, jobs: list[Job], retries: int, halve: bool) -> None:
        self._jobs, self._retries, self._halve = jobs, retries, halve
        self._failures: collections.Counter = collections.Counter()
        self._groups = [jobs] if jobs else []
        self._lost: list[tuple[Job, BaseException]] = []

    def __iter__(self) -> Iterator[list[Job]]:
        while self._groups:
            yield self._groups.pop()

    def failed(
        self, group: list[Job], errors: list[tuple[Job, BaseException]]
    ) -> None:
        """Notes who of a group failed, and sees to who is tried again."""
        again, broken = [], []
        for job, error in errors:
            if self._halve and len(group) > 1 and _broke(error):
                broken.append(job)
            elif self._may_try_again(job, error):
                again.append(job)
            else:
                self._lost.append((job, error))
        half = (len(broken) + 1) // 2
        parts = (again, broken[half:], broken[:half])
        self._groups += [part for part in parts if part]

    def _may_try_again(self, job: Job, error: BaseException) -> bool:
        self._failures[job.path] += 1
        mistake = isinstance(error, TypeError | ValueError)  # Would come again.
        return not mistake and self._failures[job.path] <= self._retries

    def require_all(self) -> None:
        """Raises the first error, if a job failed too often."""
        if not self._lost:
            return
        job, error = self._lost[0]
        raise RuntimeError(
            f"{len(self._lost)} of {len(self._jobs)} specialists could not be "
            f"trained. That of the classes {job.classes} failed "
            f"{self._failures[job.path]} times, at last by "
            f"{type(error).__name__}: {error} The others are kept in "
            f"{job.folder}; call again to go on."
        ) from error


def _broke(error: BaseException) -> bool:
    return isinstance(error, BrokenExecutor)


def run(
    jobs: list[Job],
    dataset: Any,
    pool: Pool | None,
    retries: int,
    progress: Progress,
) -> None:
    """Tries jobs until all are finished; raises what cannot be mended."""
    attempts = Attempts(jobs, retries, pool is not None and pool.renewable)
    for group in attempts:
        errors = []
        for job, outcome in outcomes(group, dataset, pool):
            if isinstance(outcome, BaseException):
                errors.append((job, outcome))
            else:
                progress.finished(job, outcome)
        attempts.failed(group, errors)
    attempts.require_all()
