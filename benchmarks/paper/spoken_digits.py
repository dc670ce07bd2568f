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

import itertools
from typing import Any

import numpy as np

from benchmarks.harness import (
    Runs,
    arguments,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper import speech
from benchmarks.paper.spoken_digits_folds import (
    ENSEMBLES,
    SHORT,
    Fold,
    Plan,
    student_name,
)
from benchmarks.paper.spoken_digits_plot import figure

NAME = "spoken_digits"
PAPER = {
    "single": {"frame_accuracy": 0.589, "word_error": 0.109},
    "ensemble": {"frame_accuracy": 0.611, "word_error": 0.107},
    "distilled": {"frame_accuracy": 0.608, "word_error": 0.107},
    "gain_kept": 0.86,
}


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
    masks = speech.split_by_take(data, held_out=True)
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
    masks = speech.split_by_take(data, held_out=True)
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
            masks = speech.split_by_take(data)
            fold = Fold("takes", data, masks, seed, settings, runs)
            yield "takes", str(seed), fold.compare(plan)
        if seed < plan.speaker_pairs:
            pair = speakers[2 * seed : 2 * seed + 2]
            masks = speech.split_by_speaker(data, pair)
            fold = Fold("speakers", data, masks, seed, settings, runs)
            yield "speakers", " and ".join(pair), fold.compare(plan)


def experiment(data: Any, plan: Plan, work: str, out: str | None) -> None:
    runs = Runs(work)
    tuning = tune(data, plan, runs)
    settings = tuning[0]["settings"]
    choice = choose_temperature(data, plan, settings, runs)
    result = {
        "environment": environment(),
        "plan": vars(plan),
        "context": [speech.LEFT, 1, speech.RIGHT],
        "batch_size": speech.BATCH,
        "utterances": len(data.digits),
        "tuning": tuning,
        "choice": choice,
        "paper": PAPER,
    }
    found: dict[str, dict] = {}
    for kind, name, arms in folds(data, plan, settings, runs):
        found.setdefault(kind, {})[name] = arms
        result[kind] = summarise(found[kind], choice["temperature"])
        save(NAME, result, out)
        draw(NAME, figure, out)


def main() -> None:
    options = arguments(__doc__, NAME, "data_dir", "work", "plot")
    if options.plot:
        draw(NAME, figure, options.out)
    elif options.short:
        experiment(speech.made_up(), SHORT, options.work, options.out)
    else:
        data = speech.load(options.data_dir)
        experiment(data, Plan(), options.work, options.out)


if __name__ == "__main__":
    main()
