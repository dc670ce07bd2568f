"""TTM, WTTM and their likes on the states of spoken digits.

Question: what of MNIST's answers in `ttm_wttm.py` holds where the teacher is an
ensemble that itself gets more than a quarter of the frames wrong?

A frame is one of 50 states, five equal parts of each digit, as in
`spoken_digits.py`. Takes 10 to 49 of each speaker and digit are to learn from,
takes 5 to 9 held out for choices and for calibration, takes 0 to 4 the test,
read once. The teacher is the arithmetic mean of 5 networks of two layers of 512
units that learned with noise, another channel and a masked band drawn anew in
each pass; the students have two layers of 64 units and learn from plain frames,
12,000 updates of 100.

Arms, parts and seeds are as in `ttm_wttm.py`, with lower temperatures among the
candidates, as the teacher is less sure, and 5 final seeds:

  rates     the learning rate of all arms with a teacher
  tuning    each arm's candidates, 2 seeds, by errors on held-out frames
  curve     labels, KD, TTM and WTTM after 6,000 to 24,000 updates
  defaults  KD, TTM and WTTM with the weights that a `kd.Distiller` gives them
  test      all arms as chosen, but the worst of the three weights
  longer    labels, KD, TTM and WTTM as chosen, after 24,000 updates

Command: KERAS_BACKEND=jax OMP_NUM_THREADS=1 \\
             python -m benchmarks.paper.ttm_wttm_speech
             --data_dir FOLDER  (of TFDS data; downloaded if left out)
         `--part NAME` runs one part. `--short` takes made-up sounds and proves
         nothing.
Minutes: 80 on one core, 7 of them for the teacher, 50 for `tuning`.
Writes:  benchmarks/results/ttm_wttm_speech.json and ttm_wttm_speech.png, once
         all parts are there; the runs themselves in .work/ttm_wttm_speech.
"""

from dataclasses import replace
from typing import Any

import keras

from benchmarks.harness import Runs
from benchmarks.paper import speech, speech_states, ttm_wttm_arms
from benchmarks.paper.spoken_digits_models import ALL, Seed
from benchmarks.paper.spoken_digits_models import Setting as Training
from benchmarks.paper.ttm_wttm_arms import LABELS, MAIN, Size, arms_of
from benchmarks.paper.ttm_wttm_models import Task
from benchmarks.paper.ttm_wttm_parts import (
    curve,
    defaults,
    longer,
    rates,
    study,
    test,
    tuning,
)
from benchmarks.paper.ttm_wttm_speech_plot import figure

NAME = "ttm_wttm_speech"
MEMBERS = 5  # of the teacher
PARTS = {
    "rates": rates,
    "tuning": tuning,
    "curve": curve,
    "defaults": defaults,
    "test": test,
    "longer": longer,
}
WHOLE = Size(
    units=64,
    teachers=(512,),
    teacher_updates=12_000,
    curve=(6_000, 12_000, 24_000),
    temperatures=(1.0, 2.0, 3.0, 5.0),
    seeds=5,
)
SHORT = replace(
    ttm_wttm_arms.SHORT,
    teachers=(16,),
    teacher_updates=100,
    arms=(LABELS, *MAIN),
)
ARMS = arms_of(
    temperatures=WHOLE.temperatures, dkd_temperatures=(1.0, 2.0, 4.0)
)


def task(options: Any, size: Size, runs: Runs) -> Task:
    data = speech.made_up() if options.short else speech.load(options.data_dir)
    learned, held_out = speech.split_by_take(data, held_out=True)
    _, tested = speech.split_by_take(data)
    train, *others = (
        speech_states.frames(data, chosen, learned)
        for chosen in (learned, held_out, tested)
    )

    def ensemble(_: tuple, units: int, updates: int) -> keras.Model:
        """Of networks that learn from views of the same frames."""
        how = Training(units=units, updates=updates)
        data, members = (train, others[0]), (MEMBERS, 0)
        made = Seed(data, "held out", how, members, runs, 0).ensemble(ALL)
        shape = (speech.CONTEXT * speech.BANDS,)
        return keras.Sequential([keras.Input(shape), made])

    return Task(
        "made-up sounds" if options.short else "states of spoken digits",
        *map(inputs_and_states, (train, *others)),
        student=lambda: network(size.units),
        teacher=ensemble,
        arms=ARMS,
    )


def inputs_and_states(frames: speech_states.Frames) -> tuple:
    return frames.plain(), frames.states


def network(units: int) -> keras.Model:
    return speech.network(units, 0.0, classes=speech_states.STATES)


def main() -> None:
    study(__doc__, NAME, task, (SHORT, WHOLE), PARTS, figure)


if __name__ == "__main__":
    main()
