"""Specialists on 100 confusable classes: Tables 3 and 4 of Hinton et al. 2015.

Question: does a small generalist with many classes get better with specialists,
how much does a class gain that several of them cover, and can one student of
the generalist's size learn what they know together? (The paper left that open.)

    KERAS_BACKEND=jax python -m benchmarks.paper.specialists --data_dir FOLDER
    KERAS_BACKEND=jax python -m benchmarks.paper.specialists --short

The short one downloads nothing.

Two MNIST digits side by side, each reduced to 14 x 14 pixels, make 100 classes,
00 to 99. The generalist has one layer of 8 units: as in the paper, where JFT
was too large for it, it cannot even fit its training data, and the data are
many (150,000 pairs of 50,000 images), so that what specialists gain is not less
overfitting. Test pairs are made of test images.

Arms, for each of 5 seeds (initial weights and pairs):

- generalist: 20 epochs; and the same, trained on for as long as the student;
- specialists: class sets by `confusable_classes`, from the predictions for the
  training inputs, no labels; half and half data; combined by eq. (5), n = 1 as
  in the paper, and n = 2;
- specialists with a full softmax (section 6.1), of the same sets;
- student: the generalist, trained on for 20 epochs by the soft targets of the
  specialist ensemble alone, and by these and labels, half and half.

The number and size of the sets, the epochs of the specialists and the student's
temperature are chosen by accuracy on 20,000 pairs of 10,000 held-out training
images, with seed 0; all that was tried is in the result file.

About 45 minutes on one core. Finished runs are kept in --work, and an
interrupted benchmark goes on where it stopped; `--seed N` makes the runs of one
seed only, so that several processes can share the work. Writes
results/specialists.json and results/specialists.png, the covariance of one
generalist's predictions, ordered by its class sets.
"""

import functools
from dataclasses import asdict
from typing import Any

import numpy as np

import keras_distill as kd
from benchmarks.harness import Runs, arguments, draw, environment, save
from benchmarks.paper import pairs
from benchmarks.paper.specialists_models import SHORT, Experiment, Size
from benchmarks.paper.specialists_tables import PAPER, gathered

NAME = "specialists"


def tune(experiment: Experiment) -> dict:
    """The best settings on held-out pairs, and all that were tried."""
    size, runs = experiment.size, experiment.runs

    def accuracy(name: str, settings: dict, model: Any) -> float:
        def make() -> dict:
            return {"accuracy": float(np.mean(experiment.right(model())))}

        settings = {"size": asdict(size), **settings}
        return runs(name, settings, make)["accuracy"]

    tried: dict[str, dict] = {"specialists": {}, "student": {}}
    options = {}
    for sets in size.sets:
        for epochs in size.specialist_epochs:
            chosen = {"sets": list(sets), "epochs": epochs}
            key = f"{sets[0]} of {sets[1]}, {epochs} epochs"
            options[key] = chosen
            tried["specialists"][key] = accuracy(
                f"tune-{key}",
                chosen,
                lambda s=sets, e=epochs: experiment.ensemble(s, e, 1),
            )
    best = options[max(tried["specialists"], key=tried["specialists"].get)]
    teachers = {}
    for n in (1, 2):
        chosen = {**best, "n": n}
        teachers[n] = accuracy(
            f"tune-n-{n}",
            chosen,
            lambda n=n: experiment.ensemble(
                tuple(best["sets"]), best["epochs"], n
            ),
        )
    tried["n"] = {str(n): value for n, value in teachers.items()}
    best["n"] = max(teachers, key=teachers.get)
    students = {}
    for hard in size.hard_weights:
        for temperature in size.temperatures:
            key = f"T = {temperature:g}, labels {hard:g}"
            students[key] = (temperature, hard)
            tried["student"][key] = accuracy(
                f"tune-student-{key}",
                {**best, "temperature": temperature, "hard": hard},
                lambda t=temperature, h=hard: experiment.student(best, t, h),
            )
    tried["generalist"] = accuracy(
        "tune-generalist", {}, lambda: experiment.generalist
    )
    tried["generalist, longer"] = accuracy(
        "tune-longer", {}, lambda: experiment.longer
    )
    for hard in size.hard_weights:
        keys = [key for key in students if students[key][1] == hard]
        key = max(keys, key=tried["student"].get)
        best[f"student, labels {hard:g}"] = list(students[key])
    return {"chosen": best, "held-out accuracy": tried}


def confusions(experiment: Experiment) -> dict:
    """How many held-out errors of the generalist lie inside a set.

    Of the sets of `confusable_classes`, and of those that K-means finds on the
    columns of the covariance as they are, which the paper describes.
    """
    x, y = experiment.test
    logits = experiment.generalist.predict(x, batch_size=1000, verbose=0)
    answers = np.argmax(logits, axis=1)
    wrong = answers != y

    def inside(class_sets: list) -> float:
        members = pairs.members(class_sets)
        both = members[:, y[wrong]] & members[:, answers[wrong]]
        return float(np.mean(np.any(both, axis=0)))

    result = {}
    for count, classes in experiment.size.sets:
        found = experiment.found(count, classes)
        plain = plain_sets(found.covariance, count, classes)
        result[f"{count} of {classes}"] = {
            "confusable_classes": inside(found.class_sets),
            "K-means on the columns as they are": inside(plain),
        }
    return result


def plain_sets(covariance: np.ndarray, count: int, classes: int) -> list:
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        count, n_init=3, max_no_improvement=None, random_state=0
    )
    distances = means.fit(covariance).transform(covariance)
    return [np.argsort(column)[:classes] for column in distances.T]


def test(experiment: Experiment, chosen: dict) -> dict:
    """Accuracies of every arm on the test pairs of one seed."""
    sets, epochs = tuple(chosen["sets"]), chosen["epochs"]
    models = {
        "generalist": lambda: experiment.generalist,
        "generalist, trained on": lambda: experiment.longer,
        "specialists, n = 1": lambda: experiment.ensemble(sets, epochs, 1),
        "specialists, n = 2": lambda: experiment.ensemble(sets, epochs, 2),
        "full softmax, n = 1": lambda: experiment.ensemble(
            sets, epochs, 1, True
        ),
        "full softmax, n = 2": lambda: experiment.ensemble(
            sets, epochs, 2, True
        ),
    }
    for key, settings in chosen.items():
        if key.startswith("student"):
            models[key] = lambda s=settings: experiment.student(chosen, *s)
    y = experiment.test[1]
    found = experiment.found(*sets)
    cover = pairs.members(found.class_sets).sum(axis=0)
    covered = cover[y]
    result: dict[str, Any] = {"arms": {}}
    for name, model in models.items():
        right = experiment.right(model())
        result["arms"][name] = {
            "overall": float(np.mean(right)),
            "conditional": float(np.mean(right[covered > 0])),
            "by cover": [
                float(np.mean(right[covered == k]))
                if np.any(covered == k)
                else None
                for k in range(covered.max() + 1)
            ],
        }
    result["classes by cover"] = np.bincount(cover).tolist()
    result["pairs by cover"] = np.bincount(covered).tolist()
    result["sets"] = len(found.class_sets)
    return result


def picture_data(experiment: Experiment, sets: tuple) -> dict:
    """What the picture shows; the lower triangle of a symmetric matrix."""
    found = experiment.found(*sets)
    rows = found.covariance.tolist()
    return {
        "class_sets": found.class_sets,
        "covariance, lower triangle": [
            [float(f"{value:.4g}") for value in row[: i + 1]]
            for i, row in enumerate(rows)
        ],
    }


def figure(result: dict) -> Any:
    """The covariance of one generalist's predictions, by its class sets."""
    shown = result["picture"]
    lower = np.zeros((pairs.CLASSES, pairs.CLASSES))
    for row, values in zip(
        lower, shown["covariance, lower triangle"], strict=True
    ):
        row[: len(values)] = values
    covariance = lower + np.tril(lower, -1).T
    found = kd.specialists.ConfusableClasses(
        shown["class_sets"], covariance, pairs.NAMES
    )
    return kd.plotting.class_covariance(found)


def run(options: Any) -> dict | None:
    """The result, if the runs of all seeds were asked for."""
    size = SHORT if options.short else Size()
    runs = Runs(options.work)
    data = pairs.load(options.short, options.data_dir)
    tuning = Experiment(size, data, runs, 0, "tune")
    tuned = tune(tuning)

    def tested(seed: int) -> dict:
        settings = {"size": asdict(size), "chosen": tuned["chosen"]}
        experiment = Experiment(size, data, runs, seed, "test")
        make = functools.partial(test, experiment, tuned["chosen"])
        return runs(f"test-{seed}", settings, make)

    if options.seed is not None:
        tested(options.seed)
        return None
    results = [tested(seed) for seed in range(size.seeds)]
    first = Experiment(size, data, runs, 0, "test")
    return {
        "environment": environment("scikit-learn"),
        "data": "pairs of digits" if options.short else "pairs of MNIST digits",
        "size": asdict(size),
        "paper": PAPER,
        "tuning": tuned,
        "held-out errors inside a set": runs(
            "confusions", {"size": asdict(size)}, lambda: confusions(tuning)
        ),
        **gathered(results),
        "seeds": results,
        "picture": picture_data(first, tuned["chosen"]["sets"]),
    }


def main() -> None:
    seed = {"type": int, "help": "this one only"}
    options = arguments(__doc__, NAME, "data_dir", "work", "plot", seed=seed)
    if not options.plot:
        result = run(options)
        if result is None:
            return
        print(save(NAME, result, options.out))
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
