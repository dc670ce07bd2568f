"""TTM, WTTM, KD and DKD on CIFAR-10 as JPEG, with convolutional networks.

Question: what of MNIST's answers in `ttm_wttm.py` holds for a convolutional
student of a teacher that is seven times as large?

The data are CIFAR-10's images as JPEG files, 45,000 to train and 5,000 of the
training images held out for choices and for calibration. The teacher learns
from views, mirrored or not and shifted by up to 4 pixels, that are new in each
pass. The students learn from other views, of which there are as many as they
make passes, the same for all of them, so that a `kd.TeacherCache` of each view
has the teacher's logits: a live teacher would take most of the time.

Arms: labels, KD (soft targets and labels), TTM, WTTM and DKD, six candidates
each, `ARMS` in ttm_wttm_cifar_models.py, of one student with half of the
passes; the others take the labels' best learning rate. The final students of 6
seeds make all 24 passes.

Parts: teacher, tuning, test. Runs are kept in the work folder and resumed.

Command: KERAS_BACKEND=jax \\
             python -m benchmarks.paper.ttm_wttm_cifar --data_dir FOLDER
         FOLDER holds cifar10_jpeg as TFDS reads it. `--part NAME` runs one
         part, `--arm NAME` one arm of it, so that several processes can share
         the work, after `--part teacher` and `--part tuning --arm labels`.
         `--short` proves nothing, on made-up images.
Minutes: 7 on an H200, whose runs are committed, ten processes at a time. On a
         core of a CPU some 330 on TensorFlow (teacher 56, its logits 7, tuning
         89, test 178, from 33 ms an update), twice as many on JAX.
Writes:  benchmarks/results/ttm_wttm_cifar.json and ttm_wttm_cifar.png, once all
         parts are there; the runs themselves in .work/ttm_wttm_cifar.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from benchmarks.harness import (
    Runs,
    arguments,
    draw,
    environment,
    save,
    steady_threads,
)
from benchmarks.paper import cifar
from benchmarks.paper.ttm_wttm_cifar_models import (
    ARMS,
    SHORT,
    Experiment,
    Size,
)
from benchmarks.paper.ttm_wttm_cifar_plot import figure
from benchmarks.paper.ttm_wttm_measures import reported

NAME = "ttm_wttm_cifar"


# Each part returns what the report says of it.


def teacher(experiment: Experiment, arms: Iterable[str]) -> dict:
    return experiment.teacher_scores()


def tuning(experiment: Experiment, arms: Iterable[str]) -> dict:
    """Held-out errors of each candidate of each arm."""
    return {arm: experiment.tuning(arm) for arm in arms}


def test(experiment: Experiment, arms: Iterable[str]) -> dict:
    """Scores of each arm as chosen."""
    result = {}
    for arm in arms:
        method, seeds = experiment.chosen(arm), experiment.size.seeds
        runs = [experiment.run(method, seed, True) for seed in range(seeds)]
        result[arm] = reported(method, runs)
    return result


PARTS = {"teacher": teacher, "tuning": tuning, "test": test}


def load(options: Any) -> tuple[tuple, tuple]:
    if options.short:
        return cifar.made_up(1000, seed=1), cifar.made_up(200, seed=2)
    data = options.data_dir
    return cifar.load("train", data), cifar.load("test", data)


def run(options: Any) -> dict | None:
    """The result, if all parts of all arms were asked for."""
    size = SHORT if options.short else Size()
    runs = Runs(options.work, options.begun)
    experiment = Experiment(size, *load(options), runs)
    parts, arms = options.part or PARTS, options.arm or ARMS
    found = {part: PARTS[part](experiment, arms) for part in parts}
    if options.part or options.arm:
        return None
    networks = {"teacher": size.teacher, "student": size.student}
    return {
        "environment": environment("tensorflow-datasets"),
        "environments of the runs": runs.environments(),
        "data": "made up" if options.short else "CIFAR-10 as JPEG",
        "test_images": len(experiment.test[0]),
        "held_out_images": len(experiment.held_out[0]),
        "size": asdict(size),
        "parameters": {
            name: cifar.network(stages).count_params()
            for name, stages in networks.items()
        },
        **found,
    }


def main() -> None:
    own = {
        name: {"choices": list(choices), "action": "append"}
        for name, choices in (("part", PARTS), ("arm", ARMS))
    }
    options = arguments(__doc__, NAME, "data_dir", "work", "plot", **own)
    if not options.plot:
        steady_threads()
        result = run(options)
        if result is None:
            return
        print(save(NAME, result, options.out))
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
