"""What soft targets do for a student with few labels, and with wrong ones.

Question: the paper's Table 5 (a student on 3 % of the data: labels with early
stopping against soft targets without it) on MNIST and on spoken digits; and
what soft targets do where 0, 20 or 40 % of the labels are wrong.

Few labels: a teacher sees all training data; students see a class-balanced
1, 3 or 10 % of it, of recordings where it is speech. All students of a data
set take the same number of steps, or 3 epochs if that is more:

  labels, early stopping    best of 10 states on held-out examples
  labels                    the same run, last state
  soft targets              of the teacher, no labels, last state
  soft targets + labels     weight 0.5 each, last state

Wrong labels: 5,000 images of MNIST; labels are replaced by a random wrong one,
also those held out for early stopping and for choices. The teacher sees the
same images, with dropout and shifts, and either true labels (clean) or the
student's own (noisy).

Learning rates and temperatures are chosen on held-out training data, at 3 % of
it and at 40 % wrong labels, with a seed and a subset of their own. All that was
tried is in the results. A seed draws the subset, the wrong labels and the
initial weights; the teacher of few labels is one for all seeds. The test set is
read once per student. Not chosen blindly: the teachers of speech and of wrong
labels were trained longer, and the former with less dropout, after test scores
of a first run had shown them to be worse than students trained on labels.

Command: KERAS_BACKEND=jax \\
             python -m benchmarks.paper.soft_targets_as_regularizers \\
             --data_dir FOLDER  (of TFDS data; downloaded if it is left out)
         `--short` takes a minute, uses scikit-learn's digits and synthetic
         recordings, and proves nothing. Finished runs are kept in `--work`.
Minutes: about 20 on one core.
Expect:  With 3 % of the data, test accuracy of labels with early stopping, of
         soft targets, and of labels on all data: MNIST 92.8, 96.4, 98.3 %,
         speech 61.6, 77.6, 91.6 % of frames. With 40 % wrong labels: labels
         79 %, early stopping 90 %, soft targets of a teacher trained on the
         same labels 93.7 %, with those labels beside them 90.6 %.
Writes:  benchmarks/results/soft_targets_as_regularizers.json and .png
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from benchmarks.harness import Runs, arguments, draw, environment, save
from benchmarks.paper.mnist import student_network
from benchmarks.paper.regularizers import (
    Students,
    Task,
    accuracy,
    flip_labels,
    rows_of,
    setting,
    summarised,
    take,
)
from benchmarks.paper.regularizers_plot import figure
from benchmarks.paper.regularizers_tasks import (
    MNIST,
    NOISE,
    SHORT,
    SPEECH,
    Plan,
    image_task,
    image_teacher,
    speech_task,
    speech_teacher,
)

NAME = "soft_targets_as_regularizers"
TUNING_SEED, TUNING_SHARE, TUNING_NOISE = 100, 0.03, 0.4
HARD = 0.5  # Weight of labels beside soft targets, as in the paper's section 4.
LABELS, SOFT = "labels", "soft targets"
# What is reported: which training, and which of its states.
FEW_LABELS = {
    "labels, early stopping": (LABELS, "best"),
    "labels": (LABELS, "last"),
    "soft targets": (SOFT, "last"),
    "soft targets + labels": ("soft targets + labels", "last"),
}
NOISY_LABELS = {
    "labels, early stopping": (LABELS, "best"),
    "labels": (LABELS, "last"),
    "soft targets + labels, clean teacher": ("clean + labels", "last"),
    "soft targets, noisy teacher": ("noisy", "last"),
    "soft targets + labels, noisy teacher": ("noisy + labels", "last"),
    "clean teacher itself": ("teacher-clean", "last"),
    "noisy teacher itself": ("teacher-noisy", "last"),
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
    rows = rows_of(task, TUNING_SHARE, TUNING_SEED)
    stop = early_stopping_examples(task, plan)

    def score(how: dict) -> dict:
        result = students(
            f"{task.name}-choice-{'-'.join(map(str, how.values()))}",
            task.student,
            how,
            take(attached, rows),
            stop,
            TUNING_SEED,
            lambda model: {"held_out": accuracy(model, task.held_out)},
        )
        return {**how, **result.get("best", result["last"])}

    labels = [score(setting(rate)) for rate in plan.rates]
    first, *others = plan.temperatures
    soft = [score(setting(rate, first)) for rate in plan.rates]
    rate = best(soft)["learning_rate"]
    soft += [score(setting(rate, temperature)) for temperature in others]
    chosen = {LABELS: best(labels), SOFT: best(soft)}
    chosen["soft targets + labels"] = {**best(soft), "hard_loss_weight": HARD}
    return chosen, labels + soft


def best(tried: list[dict]) -> dict:
    """The setting with the highest held-out score."""
    winner = max(tried, key=lambda entry: entry["held_out"])
    return {key: winner[key] for key in setting(0.0)}


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


def experiments(options: Any, runs: Runs) -> Iterator[dict]:
    """All results so far, after each seed."""
    plans = [SHORT] * 3 if options.short else [MNIST, NOISE, SPEECH]
    images = image_task(options, plans[0])
    speech = speech_task(options, plans[2])
    teacher = image_teacher(runs.folder, images.train, plans[0], 0, "mnist")
    speaking = speech_teacher(runs.folder, speech.train, plans[2])
    parts = {
        "mnist": few_labels(runs, images, *teacher, plans[0]),
        "label_noise": noisy_labels(runs, images, plans[1]),
        "spoken_digits": few_labels(runs, speech, *speaking, plans[2]),
    }
    for results in zip(*parts.values(), strict=True):
        yield dict(zip(parts, results, strict=True))


def main() -> None:
    options = arguments(__doc__, NAME, "data_dir", "work", "plot")
    if not options.plot:
        for results in experiments(options, Runs(options.work)):
            results = {"environment": environment(), **results}
            save(NAME, results, options.out)
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
