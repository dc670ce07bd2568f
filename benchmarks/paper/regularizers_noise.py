"""Wrong labels: students on them, beside two teachers."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from benchmarks.harness import Runs
from benchmarks.paper.mnist import student_network
from benchmarks.paper.regularizers import (
    HARD,
    LABELS,
    TUNING_SEED,
    Students,
    Task,
    accuracy,
    best,
    flip_labels,
    rows_of,
    setting,
    summarised,
    take,
)
from benchmarks.paper.regularizers_tasks import Plan, image_teacher

TUNING_NOISE = 0.4
NOISY_LABELS = {
    "labels, early stopping": (LABELS, "best"),
    "labels": (LABELS, "last"),
    "soft targets + labels, clean teacher": ("clean + labels", "last"),
    "soft targets, noisy teacher": ("noisy", "last"),
    "soft targets + labels, noisy teacher": ("noisy + labels", "last"),
    "clean teacher itself": ("teacher-clean", "last"),
    "noisy teacher itself": ("teacher-noisy", "last"),
}


class Noise:
    """Wrong labels, early stopping by wrong labels, and both teachers."""

    def __init__(
        self,
        work: pathlib.Path,
        task: Task,
        level: float,
        plan: Plan,
        seed: int,
    ) -> None:
        rows = rows_of(task, plan.images / len(task.train[1]), seed)
        self.x, self.right = take(task.train, rows)
        self.wrong = flip_labels(self.right, level, 10, seed)
        x, y = task.held_out
        # Who has wrong labels has them for every choice.
        self.held_out = (x, flip_labels(y, level, 10, seed + 1000))
        self.stop = take(self.held_out, np.arange(plan.stop))
        self.test = task.test
        self.teachers, self.data = {}, {}
        for name, labels in {"clean": self.right, "noisy": self.wrong}.items():
            of = f"noise-{level if name == 'noisy' else 0.0}"
            teacher, (x, _) = image_teacher(
                work, (self.x, labels), plan, seed, of
            )
            self.teachers[name], self.data[name] = teacher, (x, self.wrong)

    def scores(self, model: keras.Model) -> dict:
        return {
            "train, labels as given": accuracy(model, (self.x, self.wrong)),
            "train, true labels": accuracy(model, (self.x, self.right)),
            "test": accuracy(model, self.test),
        }


def train_under_noise(
    students: Students,
    name: str,
    noise: Noise,
    arm: str,
    how: dict,
    seed: int,
    scores: Callable[[keras.Model], dict],
) -> dict:
    return students(
        f"{name}-{arm}",
        lambda: student_network(students.plan.units),
        how,
        noise.data["noisy" if arm.startswith("noisy") else "clean"],
        noise.stop,
        seed,
        scores,
    )


def choose_under_noise(
    students: Students, work: pathlib.Path, task: Task, plan: Plan
) -> tuple[dict, list[dict]]:
    """A temperature for each arm, by accuracy on noisy held-out labels."""
    noise = Noise(work, task, TUNING_NOISE, plan, TUNING_SEED)
    (rate,) = plan.rates
    chosen, grid = {LABELS: setting(rate)}, []
    weights = {"clean + labels": HARD, "noisy": 0.0, "noisy + labels": HARD}
    for arm, weight in weights.items():
        tried = []
        for temperature in plan.temperatures:
            how = setting(rate, temperature, weight)
            result = train_under_noise(
                students,
                f"noise-choice-{temperature}",
                noise,
                arm,
                how,
                TUNING_SEED,
                lambda model: {"held_out": accuracy(model, noise.held_out)},
            )
            tried.append({"arm": arm, **how, **result["last"]})
        chosen[arm] = best(tried)
        grid += tried
    return chosen, grid


def noisy_labels(runs: Runs, task: Task, plan: Plan) -> Iterator[dict]:
    """The results so far, after each seed."""
    students, work = Students(runs, plan), runs.folder
    chosen, grid = choose_under_noise(students, work, task, plan)
    kept: dict[float, list[dict]] = {}
    for seed in range(plan.seeds):
        for level in plan.levels:
            noise = Noise(work, task, level, plan, seed)
            name = f"noise-{level}-{seed}"
            results = {
                arm: train_under_noise(
                    students, name, noise, arm, how, seed, noise.scores
                )
                for arm, how in chosen.items()
                # Without noise both teachers are the same.
                if level or arm != "noisy + labels"
            }
            for of, teacher in noise.teachers.items():
                results[f"teacher-{of}"] = {"last": noise.scores(teacher)}
            kept.setdefault(level, []).append(results)
        yield {
            "plan": dataclasses.asdict(plan),
            "chosen": chosen,
            "held_out_scores": grid,
            "levels": {k: summarised(v, NOISY_LABELS) for k, v in kept.items()},
        }
