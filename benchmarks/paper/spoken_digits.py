"""Section 4 of Hinton, Vinyals and Dean 2015 on spoken digits.

Question: how much of what an ensemble of 10 acoustic models gains over one of
them does a single distilled model keep?

A network of two layers of 128 units names the digit from 15 frames of 40
log-Mel bands; an utterance is the digit with the largest mean probability over
its frames. The arms of a fold:

  single     10 networks that differ in their initial weights only: the same
             data, in the same order
  ensemble   the arithmetic and the geometric mean of these 10
  distilled  one network of the same size, with the same epochs and optimiser
             and initial weights of its own, on the soft targets of the
             arithmetic ensemble at T in {1, 2, 5, 10} and on the labels, half
             and half; the ensemble runs once, into a cache

and the folds:

  takes      the official test set, takes 0 to 4 of each digit and speaker; 5
             seeds, each with an ensemble and students of its own
  speakers   2 of the 6 speakers at a time, all takes; trained on the training
             takes of the other four

Choices (dropout, learning rate, T) are made on takes 5 to 9, with training on
takes 10 to 49, and are used as they are for both kinds of folds. Final runs
train on takes 5 to 49. Test data are read after the last epoch.

Command: KERAS_BACKEND=jax python -m benchmarks.paper.spoken_digits \\
             --data_dir FOLDER  (of TFDS data; downloaded if left out).
         Runs again where it was stopped. `--short` takes seconds on made-up
         sounds and proves nothing.
Minutes: about 30 of one idle core; 70 beside other work.
Expect:  on known speakers 92.0 % of the frames for single networks, 92.9 % for
         the ensemble, 92.0 % for a student at T = 1 and less at higher T; on
         unseen speakers 51.1, 53.3 and 50.9 to 52.4 %, where single networks
         alone scatter by 1.0 points (sd).
Writes:  benchmarks/results/spoken_digits.json and spoken_digits.png after each
         fold; the runs themselves in --work.
"""

import argparse
import itertools
import pathlib
import tempfile
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness.environment import RESULTS, environment, save_results
from benchmarks.harness.runs import Runs, summary
from benchmarks.paper import example

digits = example.load("spoken_digits")

PAPER = {
    "single": {"frame_accuracy": 0.589, "word_error": 0.109},
    "ensemble": {"frame_accuracy": 0.611, "word_error": 0.107},
    "distilled": {"frame_accuracy": 0.608, "word_error": 0.107},
    "gain_kept": 0.86,
}
ENSEMBLES = ("arithmetic", "geometric")


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    members: int = 10
    temperatures: tuple = (1.0, 2.0, 5.0, 10.0)
    epochs: int = 7
    units: int = 128
    dropouts: tuple = (0.0, 0.1)
    rates: tuple = (2e-3, 4e-3)
    tuning_seeds: int = 1
    choice_students: int = 1
    seeds: int = 5
    speaker_pairs: int = 3


SHORT = Plan(2, (2.0,), 1, 8, (0.0,), (3e-3,), 1, 1, 1, 1)


class Fold:
    """Training and evaluation frames, and the networks trained on them."""

    def __init__(
        self,
        name: str,
        data: Any,
        masks: tuple,
        seed: int,
        settings: dict,
        runs: Runs,
    ) -> None:
        training, evaluation = masks
        self.name, self.seed = name, seed
        self.settings, self.runs = settings, runs
        # Networks of other settings are other files.
        chosen = "-".join(f"{value:g}" for value in settings.values())
        self.stem = f"{name}-{seed}-{chosen}"
        self.train = digits.frames(data, training, training)[:2]
        self.test = digits.frames(data, evaluation, training)
        self._attached = None

    def measure(self, model: keras.Model) -> dict:
        return {
            "frame_accuracy": digits.frame_accuracy(model, *self.test[:2]),
            "utterance_error": digits.utterance_error(model, *self.test),
        }

    def run(self, arm: str, make: Any) -> dict:
        """Measures the model that `make()` gives, or reads what it gave."""
        return self.runs(
            f"{self.name}-{self.seed}-{arm}",
            self.settings | {"frames": len(self.train[0])},
            lambda: self.measure(make()),
        )

    def member(self, number: int) -> keras.Model:
        path = self.runs.folder / f"{self.stem}-{number}.keras"
        if path.exists():
            return keras.models.load_model(path)
        model = digits.train(
            *self.train,
            seed=1000 * self.seed + number,
            order=self.seed,
            **self.settings,
        )
        temporary = path.with_name(f"new-{path.name}")
        model.save(temporary)
        temporary.replace(path)
        return model

    def ensemble(self, members: int, combine: str) -> keras.Model:
        return kd.Ensemble([self.member(i) for i in range(members)], combine)

    def student(self, temperature: float, number: int, members: int) -> Any:
        if self._attached is None:
            cache = kd.TeacherCache.build(
                self.ensemble(members, "arithmetic"),
                self.train,
                self.runs.folder / f"{self.stem}-cache",
                batch_size=1000,
                verbose=0,
            )
            self._attached = cache.attach(self.train)
        return digits.distil(
            self._attached,
            temperature,
            seed=1000 * self.seed + members + number,
            order=self.seed,
            **self.settings,
        )

    def students(self, plan: Plan, count: int = 1) -> dict:
        """Per temperature, `count` distilled networks."""
        return {
            temperature: [
                self.run(
                    f"distilled-{temperature:g}-{number}",
                    lambda t=temperature, n=number: self.student(
                        t, n, plan.members
                    ),
                )
                for number in range(count)
            ]
            for temperature in plan.temperatures
        }

    def compare(self, plan: Plan) -> dict:
        """All arms: `single` holds one entry per member."""
        arms = {
            "single": [
                self.run(f"single-{i}", lambda i=i: self.member(i))
                for i in range(plan.members)
            ]
        }
        for combine in ENSEMBLES:
            arms[combine] = self.run(
                combine, lambda c=combine: self.ensemble(plan.members, c)
            )
        for temperature, (run,) in self.students(plan).items():
            arms[student_name(temperature)] = run
        return arms


def student_name(temperature: float) -> str:
    return f"distilled, T = {temperature:g}"


def tune(data: Any, plan: Plan, runs: Runs) -> list[dict]:
    """Single networks of each setting on held-out takes, the best first."""
    shared = {"units": plan.units, "epochs": plan.epochs}
    grid = [
        {"dropout": dropout, "rate": rate, **shared}
        for dropout, rate in itertools.product(plan.dropouts, plan.rates)
    ]
    if len(grid) == 1:
        return [{"settings": grid[0]}]
    tried = [
        {"settings": settings, "held_out": held_out(data, plan, settings, runs)}
        for settings in grid
    ]
    return sorted(tried, key=lambda entry: -entry["held_out"]["mean"])


def held_out(data: Any, plan: Plan, settings: dict, runs: Runs) -> dict:
    masks = digits.split_by_take(data, held_out=True)
    name = f"tuning-{settings['dropout']:g}-{settings['rate']:g}"
    scores = []
    for seed in range(plan.tuning_seeds):
        fold = Fold(name, data, masks, seed, settings, runs)
        run = fold.run("single-0", lambda fold=fold: fold.member(0))
        scores.append(run["frame_accuracy"])
    return summary(scores)


def choose_temperature(
    data: Any, plan: Plan, settings: dict, runs: Runs
) -> dict:
    """Frame accuracy on held-out takes at each temperature, and the best."""
    if len(plan.temperatures) == 1:
        return {"temperature": plan.temperatures[0]}
    masks = digits.split_by_take(data, held_out=True)
    fold = Fold("choice", data, masks, 0, settings, runs)
    scores = {
        temperature: summary(run["frame_accuracy"] for run in found)
        for temperature, found in fold.students(
            plan, plan.choice_students
        ).items()
    }
    best = max(scores, key=lambda temperature: scores[temperature]["mean"])
    named = {f"{t:g}": score for t, score in scores.items()}
    return {"temperature": best, "held_out": named}


def summarise(folds: dict, temperature: float) -> dict:
    """Means and standard deviations over folds; gains are those of a fold."""
    metrics = ("frame_accuracy", "utterance_error")
    first = next(iter(folds.values()))
    values = {
        arm: {
            metric: [mean_of(arms[arm], metric) for arms in folds.values()]
            for metric in metrics
        }
        for arm in first
    }
    frame = {arm: np.array(v["frame_accuracy"]) for arm, v in values.items()}
    gains = {arm: v - frame["single"] for arm, v in frame.items()}
    del gains["single"]
    best = gains["arithmetic"]
    spread = [
        np.std([run["frame_accuracy"] for run in arms["single"]], ddof=1)
        for arms in folds.values()
    ]
    return {
        "folds": list(folds),
        "arms": {
            arm: {metric: summary(v) for metric, v in found.items()}
            for arm, found in values.items()
        },
        "gain": {arm: summary(v.tolist()) for arm, v in gains.items()},
        "gain_kept": {
            arm: {
                **summary((gain / best).tolist()),
                "of mean gains": gain.mean() / best.mean(),
            }
            for arm, gain in gains.items()
            if arm not in ENSEMBLES
        },
        "chosen": student_name(temperature),
        "geometric - arithmetic": summary(
            (frame["geometric"] - frame["arithmetic"]).tolist()
        ),
        "sd of the members of a fold": float(np.mean(spread)),
    }


def mean_of(runs: dict | list[dict], metric: str) -> float:
    """The value of a run, or the mean over several."""
    runs = runs if isinstance(runs, list) else [runs]
    return float(np.mean([run[metric] for run in runs]))


def folds(data: Any, plan: Plan, settings: dict, runs: Runs) -> Any:
    """Yields the kind and the name of each fold with its arms, in turns."""
    speakers = np.unique(data.speakers)
    for seed in range(max(plan.seeds, plan.speaker_pairs)):
        if seed < plan.seeds:
            masks = digits.split_by_take(data)
            fold = Fold("takes", data, masks, seed, settings, runs)
            yield "takes", str(seed), fold.compare(plan)
        if seed < plan.speaker_pairs:
            pair = speakers[2 * seed : 2 * seed + 2]
            masks = digits.split_by_speaker(data, pair)
            fold = Fold("speakers", data, masks, seed, settings, runs)
            yield "speakers", " and ".join(pair), fold.compare(plan)


# The picture. Colours: Okabe and Ito's, which colour-blind readers tell apart.

SINGLE, ENSEMBLE, DISTILLED = "#555555", "#009E73", "#0072B2"
TITLES = {
    "takes": "known speakers, new takes\n({} seeds)",
    "speakers": "speakers never heard\n({} pairs of speakers)",
}


def plot(path: pathlib.Path, result: dict) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kinds = [kind for kind in TITLES if kind in result]
    plt.rcParams.update({"font.size": 12})
    figure, axes = plt.subplots(
        2,
        len(kinds),
        figsize=(7.5 * len(kinds), 9),
        layout="constrained",
        squeeze=False,
    )
    for column, kind in zip(axes.T, kinds, strict=True):
        one = result[kind]
        title = TITLES[kind].format(len(one["folds"]))
        column[0].set_title(title, fontsize=13)
        plot_metric(column[0], one, "frame_accuracy")
        plot_metric(column[1], one, "utterance_error")
    figure.suptitle(
        "Ensembles of 10 networks, and single networks distilled from them, "
        "against the mean of the 10\n"
        "dots: seeds or pairs of speakers; bars: mean ± standard deviation"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_metric(axes: Any, one: dict, metric: str) -> None:
    """Differences from the mean of the fold's single networks, in points."""
    base = np.array(one["arms"]["single"][metric]["values"])
    arms = [arm for arm in one["arms"] if arm != "single"]
    for place, arm in enumerate(arms):
        values = np.array(one["arms"][arm][metric]["values"])
        points = 100 * (values - base)
        colour = DISTILLED if arm.startswith("distilled") else ENSEMBLE
        spread = np.linspace(-0.15, 0.1, len(points))
        axes.plot(place + spread, points, "o", color=colour, alpha=0.5)
        sd = points.std(ddof=1) if len(points) > 1 else 0.0
        mean = points.mean()
        axes.errorbar(place + 0.22, mean, sd, fmt="D", color=colour, capsize=4)
        axes.text(place + 0.3, mean, f"{mean:+.2f}", va="bottom", color=colour)
    axes.axhline(0, color=SINGLE, linestyle="--")
    labels = [
        arm.replace(", ", "\n") if "," in arm else f"ensemble,\n{arm}"
        for arm in arms
    ]
    axes.set_xticks(range(len(arms)), labels)
    axes.set(xlim=(-0.5, len(arms)))
    name, mean = metric.replace("_", " "), 100 * base.mean()
    axes.set_ylabel(f"{name}, points above single ({mean:.1f} %)")
    axes.spines[["top", "right"]].set_visible(False)


def parse_arguments(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=None, help="folder of TFDS data")
    parser.add_argument("--short", action="store_true", help="a quick check")
    parser.add_argument("--out", default=None, help="folder for the results")
    parser.add_argument("--work", default=".work/spoken_digits")
    return parser.parse_args(arguments)


def experiment(data: Any, plan: Plan, work: str, out: str | None) -> None:
    runs = Runs(work)
    tuning = tune(data, plan, runs)
    settings = tuning[0]["settings"]
    choice = choose_temperature(data, plan, settings, runs)
    result = {
        "environment": environment(),
        "plan": vars(plan),
        "context": [digits.LEFT, 1, digits.RIGHT],
        "batch_size": digits.BATCH,
        "utterances": len(data.digits),
        "tuning": tuning,
        "choice": choice,
        "paper": PAPER,
    }
    found: dict[str, dict] = {}
    for kind, name, arms in folds(data, plan, settings, runs):
        found.setdefault(kind, {})[name] = arms
        result[kind] = summarise(found[kind], choice["temperature"])
        path = save_results("spoken_digits", result, out)
        plot(path.with_suffix(".png"), result)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.short:
        with tempfile.TemporaryDirectory() as work:
            experiment(digits.made_up(), SHORT, work, options.out)
    else:
        data = digits.load(options.data_dir)
        experiment(data, Plan(), options.work, options.out or str(RESULTS))


if __name__ == "__main__":
    main()
