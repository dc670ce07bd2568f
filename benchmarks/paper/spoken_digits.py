"""Section 4 of Hinton, Vinyals and Dean 2015 on spoken digits.

Question: how much of what an ensemble of 10 acoustic models gains over one of
them does a single distilled model keep?

As in the paper, networks name the state of a frame, of which a single one gets
some 70 % right: each digit is cut into five equal parts, 50 states in all. A
network of two layers of 512 units hears 15 frames of 40 log-Mel bands, with
noise, another channel and a band masked, drawn anew in each pass over the data;
an ensemble teaches on the same view. All networks make the same updates, with
the same batches; those of a seed differ in their initial weights only.

  single     10 networks that have learned the labels
  ensemble   the arithmetic and the geometric mean of these 10
  students   of the arithmetic ensemble at T in {1, 2, 5, 10} and of the labels,
             half and half; and at T = 2 without labels
  held apart the same at T = 2, when each frame's teacher is the mean of 5
             networks that have not learned from it: of 10, 5 learned from even
             takes and 5 from odd ones
  half       members that learned from even takes alone: 5 single, their
             ensemble, and students at T = 2 that see even takes, or all takes,
             of which odd ones have soft targets and no labels

Parts, each a list of runs that is kept in the work folder and resumed:

  tuning     learning rates, numbers of updates, T; on takes 5 to 9 of each
             speaker and digit, which training leaves out; ensembles of 5, one
             seed
  0, 1, ...  each seed, on the official test set, takes 0 to 4, read once;
             networks learn from takes 5 to 49

An utterance is the digit with the largest mean probability over its frames.

Command: KERAS_BACKEND=jax python -m benchmarks.paper.spoken_digits \\
             --data_dir FOLDER  (of TFDS data; downloaded if left out).
         `--part NAME` runs one part, so that two processes can share the work,
         and `--seeds N` is content with the first N. `--short` takes seconds on
         made-up sounds and proves nothing.
Minutes: some 50 on one core for each seed, and 130 for tuning.
Writes:  benchmarks/results/spoken_digits.json and spoken_digits.png, once all
         parts are there; the runs themselves in .work/spoken_digits.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.harness import (
    Runs,
    arguments,
    draw,
    environment,
    save,
    summary,
)
from benchmarks.paper import speech, speech_states
from benchmarks.paper.spoken_digits_models import (
    ALL,
    EVEN,
    VIEWS,
    Seed,
    Setting,
    Student,
)
from benchmarks.paper.spoken_digits_plot import figure

NAME = "spoken_digits"
PAPER = {
    "single": {"frame_accuracy": 0.589, "word_error": 0.109},
    "ensemble": {"frame_accuracy": 0.611, "word_error": 0.107},
    "distilled": {"frame_accuracy": 0.608, "word_error": 0.107},
    "gain_kept": 0.86,
}
CHOSEN = 2.0  # The temperature that did best on held-out takes.
_AT = f"T = {CHOSEN:g}"


@dataclass(frozen=True)
class Size:
    """How much is done."""

    setting: Setting = Setting()
    others: tuple[Setting, ...] = (
        Setting(rate=1e-3),
        Setting(rate=4e-3),
        Setting(updates=6_000),
        Setting(updates=24_000),
    )
    temperatures: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    members: tuple[int, int] = (10, 5)
    tuning_members: int = 5
    seeds: int = 5


_SMALL = Setting(units=16, rate=3e-3, updates=200, batch=50)
SHORT = Size(_SMALL, (replace(_SMALL, updates=100),), (1.0,), (2, 2), 2, 1)


def students_of_all(temperatures: tuple[float, ...]) -> dict[str, Student]:
    """Of labels and soft targets half and half, and of the latter alone."""
    return {f"T = {t:g}": Student(t) for t in temperatures} | {
        f"{_AT}, no labels": Student(CHOSEN, hard=0.0)
    }


HELD_APART = {
    f"{_AT}, members have not heard it": Student(CHOSEN, teacher=None)
}
SAME = {_AT: Student(CHOSEN, teacher=EVEN, labels=EVEN, transfer=EVEN)}
MORE = {
    f"{_AT}, odd takes without labels": Student(
        CHOSEN, teacher=EVEN, labels=EVEN
    )
}


def of_seed(data: Any, size: Size, runs: Runs, seed: int) -> dict:
    """Every arm on the test takes."""
    frames = two_sets(data, held_out=False)
    one = Seed(frames, "test", size.setting, size.members, runs, seed)
    everyone = compared(one, ALL, students_of_all(size.temperatures))
    # Side by side, as both are taught by the members of halves.
    others = one.students(HELD_APART | MORE)
    [apart], [more] = HELD_APART, MORE
    everyone["students"][apart] = others[apart]
    half = compared(one, EVEN, SAME)
    half["students"][more] = others[more]
    return {"all takes": everyone, "even takes": half}


def compared(one: Seed, takes: str, students: dict[str, Student]) -> dict:
    return {
        "single": one.singles(takes),
        "ensemble": one.together(takes),
        "students": one.students(students),
    }


def tuning(data: Any, size: Size, runs: Runs) -> dict:
    """Errors on held-out takes, by the setting."""
    frames = two_sets(data, held_out=True)
    members = (size.tuning_members, 0)
    found = {}
    for setting in (size.setting, *size.others):
        one = Seed(frames, "held out", setting, members, runs, 0)
        students = students_of_all(size.temperatures[:3])
        found[str(setting)] = compared(one, ALL, students)
    return found


def two_sets(data: speech.Recordings, held_out: bool) -> tuple:
    training, measured_on = speech.split_by_take(data, held_out)
    return (
        speech_states.frames(data, training, training),
        speech_states.frames(data, measured_on, training),
    )


def over_seeds(found: list[dict]) -> dict:
    """Of the arms with one set of members: errors, and what they gain."""
    errors = {
        metric: {
            arm: summary(one[arm][metric] for one in map(arms, found))
            for arm in arms(found[0])
        }
        for metric in ("state error", "utterance error")
    }
    training = [mean_of(one["single"], "training state error") for one in found]
    return {
        **errors,
        "training state error": summary(training),
        "gain": summary(map(gain, found)),
        "gain kept": {
            name: summary(kept(one, name) for one in found)
            for name in found[0]["students"]
        },
    }


def arms(one: dict) -> dict[str, dict]:
    """Each arm of a seed; single networks by their mean."""
    metrics = ("state error", "utterance error")
    single = {metric: mean_of(one["single"], metric) for metric in metrics}
    ensembles = {f"ensemble, {how}": f for how, f in one["ensemble"].items()}
    return {"single": single, **ensembles, **one["students"]}


def mean_of(runs: list[dict], metric: str) -> float:
    return sum(run[metric] for run in runs) / len(runs)


def gain(one: dict) -> float:
    """By how much fewer frames the arithmetic ensemble gets wrong."""
    single = mean_of(one["single"], "state error")
    return single - one["ensemble"]["arithmetic"]["state error"]


def kept(one: dict, student: str) -> float:
    """The share of it that a student keeps."""
    single = mean_of(one["single"], "state error")
    return (single - one["students"][student]["state error"]) / gain(one)


def run(options: Any) -> dict | None:
    """The result, if all parts were asked for."""
    size = SHORT if options.short else Size()
    runs = Runs(options.work, options.begun)
    data = speech.made_up() if options.short else speech.load(options.data_dir)
    seeds = [str(seed) for seed in range(options.seeds or size.seeds)]
    parts = options.part or ["tuning", *seeds]
    found = {
        part: tuning(data, size, runs)
        if part == "tuning"
        else of_seed(data, size, runs, int(part))
        for part in parts
    }
    if options.part:
        return None
    return {
        "environment": environment("tensorflow-datasets"),
        "environments of the runs": runs.environments(),
        "size": asdict(size),
        "views": VIEWS,
        "paper": PAPER,
        "tuning": {
            setting: over_seeds([one])
            for setting, one in found["tuning"].items()
        },
        **{
            takes: over_seeds([found[seed][takes] for seed in seeds])
            for takes in ("all takes", "even takes")
        },
    }


def main() -> None:
    part = {"action": "append", "help": "tuning, or a seed"}
    seeds = {"type": int, "help": "the first so many"}
    options = arguments(
        __doc__, NAME, "data_dir", "work", "plot", part=part, seeds=seeds
    )
    if not options.plot:
        result = run(options)
        if result is None:
            return
        print(save(NAME, result, options.out))
    draw(NAME, figure, options.out)


if __name__ == "__main__":
    main()
