"""Few labels: students on a share of the data, and their teacher."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np

from benchmarks.harness import Runs
from benchmarks.paper.regularizers import (
    HARD,
    LABELS,
    SOFT,
    TUNING_SEED,
    Students,
    Task,
    accuracy,
    best,
    rows_of,
    setting,
    summarised,
    take,
)
from benchmarks.paper.regularizers_tasks import Plan

SOFT_AND_LABELS = "soft targets + labels"
TUNING_SHARE = 0.03
# What is reported: which training, and which of its states.
FEW_LABELS = {
    "labels, early stopping": (LABELS, "best"),
    "labels": (LABELS, "last"),
    "soft targets": (SOFT, "last"),
    SOFT_AND_LABELS: (SOFT_AND_LABELS, "last"),
}


def few_labels(
    runs: Runs, task: Task, teacher: keras.Model, attached: tuple, plan: Plan
) -> Iterator[dict]:
    """The results so far, after each seed."""
    students = Students(runs, plan)
    chosen, grid = choose(students, task, attached, plan)
    result = {
        "plan": dataclasses.asdict(plan),
        "examples": sizes(task),
        "chosen": chosen,
        "held_out_scores": grid,
        "held_out_by_steps": converging(runs, task, attached, chosen, plan),
        "teacher": {
            "train": accuracy(teacher, task.train),
            "test": accuracy(teacher, task.test),
            **task.extra(teacher),
        },
    }
    kept: dict[float, list[dict]] = {}
    for seed in range(plan.seeds):
        for share in (*plan.shares, 1.0):
            rows = rows_of(task, share, seed)
            arms = {LABELS: chosen[LABELS]} if share == 1 else chosen
            results = few_labels_runs(
                students, task, attached, rows, arms, seed
            )
            kept.setdefault(share, []).append(results)
        shares = {k: summarised(v, FEW_LABELS) for k, v in kept.items()}
        yield {**result, "shares": shares}


def sizes(task: Task) -> dict:
    return {
        "train": len(task.train[1]),
        "held_out": len(task.held_out[1]),
        "test": len(task.test[1]),
        "train units": len(task.unit_labels),
    }


def few_labels_runs(
    students: Students,
    task: Task,
    attached: tuple,
    rows: np.ndarray,
    arms: dict,
    seed: int,
) -> dict:
    """One student of each arm on these rows."""
    subset = take(task.train, rows)

    def scores(model: keras.Model) -> dict:
        return {
            "train": accuracy(model, subset),
            "test": accuracy(model, task.test),
            **task.extra(model),
        }

    return {
        arm: students(
            f"{task.name}-{len(rows)}-{arm}-{seed}",
            task.student,
            how,
            take(attached, rows),
            early_stopping_examples(task, students.plan),
            seed,
            scores,
        )
        for arm, how in arms.items()
    }


def early_stopping_examples(task: Task, plan: Plan) -> tuple:
    order = np.random.default_rng(0).permutation(len(task.held_out[1]))
    return take(task.held_out, order[: plan.stop])


def choose(
    students: Students, task: Task, attached: tuple, plan: Plan
) -> tuple[dict, list[dict]]:
    """Rates and temperature by held-out accuracy, and all that was tried."""

    def score(how: dict) -> dict:
        name = f"choice-{'-'.join(map(str, how.values()))}"
        return {**how, **held_out(students, task, attached, how, name)}

    labels = [score(setting(rate)) for rate in plan.rates]
    first, *others = plan.temperatures
    soft = [score(setting(rate, first)) for rate in plan.rates]
    rate = best(soft)["learning_rate"]
    soft += [score(setting(rate, temperature)) for temperature in others]
    chosen = {LABELS: best(labels), SOFT: best(soft)}
    chosen[SOFT_AND_LABELS] = {**best(soft), "hard_loss_weight": HARD}
    return chosen, labels + soft


def held_out(
    students: Students, task: Task, attached: tuple, how: dict, name: str
) -> dict:
    """The score of a student of the share and seed that choices are made on."""
    result = students(
        f"{task.name}-{name}",
        task.student,
        how,
        take(attached, rows_of(task, TUNING_SHARE, TUNING_SEED)),
        early_stopping_examples(task, students.plan),
        TUNING_SEED,
        lambda model: {"held_out": accuracy(model, task.held_out)},
    )
    return result.get("best", result["last"])


def converging(
    runs: Runs, task: Task, attached: tuple, chosen: dict, plan: Plan
) -> dict:
    """The same scores by the number of steps, each point a whole run."""
    curve: dict[str, dict] = {arm: {} for arm in (LABELS, SOFT)}
    for steps in plan.curve:
        students = Students(runs, dataclasses.replace(plan, steps=steps))
        for arm, points in curve.items():
            name = f"{arm}-{steps} steps"
            found = held_out(students, task, attached, chosen[arm], name)
            points[str(steps)] = found["held_out"]
    return curve
