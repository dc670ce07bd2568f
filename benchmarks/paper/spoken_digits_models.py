"""The networks of `spoken_digits.py`, of one seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import Runs, adam, kept_model
from benchmarks.paper import speech, speech_states
from benchmarks.paper.speech_states import Frames

UNKNOWN = -1
LOSS = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, ignore_class=UNKNOWN
)
ALL, EVEN, ODD = "all", "even", "odd"  # Takes that members learn from.
HALVES = {EVEN: range(0, 50, 2), ODD: range(1, 50, 2)}


@dataclass(frozen=True)
class Setting:
    """How a network is trained, alone or as a student."""

    units: int = 512
    rate: float = 2e-3
    updates: int = 12_000
    batch: int = 250

    def __str__(self) -> str:
        return f"rate {self.rate:g}, {self.updates:,} updates"


@dataclass(frozen=True)
class Student:
    """What a network learns beside, or without, labels.

    Args:
        temperature: Of the soft targets.
        hard: Weight of the labels; that of the soft targets is `1 - hard`.
        teacher: The takes that its teacher's members have learned from; with
            `None`, those that each frame does not belong to.
        labels: The takes with labels.
        transfer: The takes that it sees.
    """

    temperature: float
    hard: float = 0.5
    teacher: str | None = ALL
    labels: str = ALL
    transfer: str = ALL

    @property
    def asks(self) -> tuple[str, ...]:
        """The takes that the ensembles have learned from, which it needs."""
        return (self.teacher,) if self.teacher else (EVEN, ODD)

    def distiller(self, setting: Setting) -> kd.Distiller:
        distiller = kd.Distiller(
            None,
            network(setting),
            kd.losses.SoftTargets(self.temperature),
            hard_loss_weight=self.hard,
            soft_loss_weight=1 - self.hard,
        )
        distiller.compile(adam(setting.rate, setting.updates), LOSS)
        return distiller

    def logits(self, said: dict[str, np.ndarray], takes: np.ndarray) -> Any:
        """The teacher's, of those that each ensemble gives.

        Args:
            said: Logits of each ensemble, by the takes it has learned from.
            takes: Of the frames.
        """
        if self.teacher:
            return said[self.teacher]
        even = np.isin(takes, HALVES[EVEN])[:, None]
        return np.where(even, said[ODD], said[EVEN])


def network(setting: Setting) -> keras.Model:
    return speech.network(setting.units, 0.0, classes=speech_states.STATES)


class Seed:
    """The members, their ensembles and the students of one seed.

    Args:
        frames: Frames to learn from, and those to be measured on.
        where: Name of the latter.
        setting: Of all networks.
        members: How many learn from all takes, and how many from each half.
        runs: Where runs are kept.
        seed: Of initial weights, order and views, which members share.
    """

    def __init__(
        self,
        frames: tuple[Frames, Frames],
        where: str,
        setting: Setting,
        members: tuple[int, int],
        runs: Runs,
        seed: int,
    ) -> None:
        self.train, self.measured_on = frames
        self.where, self.setting, self.runs = where, setting, runs
        self.members = {ALL: members[0], EVEN: members[1], ODD: members[1]}
        self.seed = seed

    def run(self, name: str, make: Callable[[], dict], **settings: Any) -> dict:
        common = {
            "setting": asdict(self.setting),
            "views": VIEWS,
            "frames": len(self.train),
            "where": self.where,
            "seed": self.seed,
            "backend": keras.backend.backend(),
        }
        name = f"{self.where}, {self.setting}, seed {self.seed}: {name}"
        return self.runs(name, common | settings, make)

    def frames_of(self, takes: str) -> Frames:
        return self.train if takes == ALL else self.train.of(HALVES[takes])

    def member(self, takes: str, number: int) -> keras.Model:
        """A network that has learned the labels of these takes."""
        values = "-".join(f"{v:g}" for v in asdict(self.setting).values())
        name = f"{self.where}-{values}-{self.seed}-{takes}-{number}.keras"
        return kept_model(
            self.runs.folder / name, lambda: self._member(takes, number)
        )

    def _member(self, takes: str, number: int) -> keras.Model:
        keras.utils.set_random_seed(1000 * self.seed + number)
        model = network(self.setting)
        model.compile(adam(self.setting.rate, self.setting.updates), LOSS)
        frames = self.frames_of(takes)
        for rows, x in passes(frames, self.setting, self.seed):
            fit(model, x, frames.states[rows], self.setting)
        return model

    def ensemble(self, takes: str, combine: str = "arithmetic") -> keras.Model:
        members = range(self.members[takes])
        return kd.Ensemble([self.member(takes, i) for i in members], combine)

    def singles(self, takes: str) -> list[dict]:
        def make(number: int) -> dict:
            model = self.member(takes, number)
            return self.measure(model) | {
                "training state error": state_error(model, self.train)
            }

        return [
            self.run(f"{takes} takes, {i}", lambda i=i: make(i))
            for i in range(self.members[takes])
        ]

    def together(self, takes: str) -> dict:
        """The mean of the distributions, and of the logits."""
        return {
            combine: self.run(
                f"{takes} takes, {combine} mean",
                lambda c=combine: self.measure(self.ensemble(takes, c)),
                members=self.members[takes],
            )
            for combine in ("arithmetic", "geometric")
        }

    def students(self, students: dict[str, Student]) -> dict[str, dict]:
        """Those of one transfer set, side by side on the same views.

        The ensembles answer once for all of them.
        """

        def make() -> dict:
            made = self._students(list(students.values()))
            return {
                name: self.measure(model)
                for name, model in zip(students, made, strict=True)
            }

        return self.run(
            f"students: {'; '.join(students)}",
            make,
            students=[asdict(student) for student in students.values()],
            members=self.members,
        )

    def _students(self, students: Sequence[Student]) -> list[keras.Model]:
        [transfer] = {student.transfer for student in students}
        frames = self.frames_of(transfer)
        asked = {takes for student in students for takes in student.asks}
        ensembles = {takes: self.ensemble(takes) for takes in sorted(asked)}
        distillers = []
        for number, student in enumerate(students):
            keras.utils.set_random_seed(1000 * self.seed + 500 + number)
            distillers.append(student.distiller(self.setting))
        labels = [labels_of(frames, student.labels) for student in students]
        for rows, x in passes(frames, self.setting, self.seed):
            said = {t: predict(e, x) for t, e in ensembles.items()}
            takes = frames.takes[rows]
            for student, distiller, y in zip(
                students, distillers, labels, strict=True
            ):
                logits = student.logits(said, takes)
                x_and_logits = kd.WithTeacherLogits(x, logits)
                fit(distiller, x_and_logits, y[rows], self.setting)
        return [distiller.student for distiller in distillers]

    def measure(self, model: keras.Model) -> dict:
        """Shares of wrong frames and of wrong recordings."""
        frames = self.measured_on
        logits = predict(model, frames.plain())
        states = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        digits = states.reshape(len(frames), 10, -1).sum(axis=-1)
        decided, spoken = speech.decide(
            digits, frames.digits, frames.utterances
        )
        return {
            "state error": float(np.mean(logits.argmax(-1) != frames.states)),
            "utterance error": float(np.mean(decided != spoken)),
        }


VIEWS = {
    "noise": speech_states.NOISE,
    "offset": speech_states.OFFSET,
    "masked": speech_states.MASKED,
    "parts": speech_states.PARTS,
}


def passes(
    frames: Frames, setting: Setting, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their views for each pass; the last has what is left to do."""
    left = setting.updates * setting.batch
    whole = len(frames) // setting.batch * setting.batch
    random = np.random.default_rng(seed)
    while left:
        rows = random.permutation(len(frames))[: min(whole, left)]
        yield rows, frames.in_context(frames.view(random), rows)
        left -= len(rows)


def fit(model: Any, x: Any, y: np.ndarray, setting: Setting) -> None:
    model.fit(x, y, setting.batch, shuffle=False, verbose=0)


def predict(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return model.predict(x, batch_size=1000, verbose=0)


def labels_of(frames: Frames, takes: str) -> np.ndarray:
    """States of these takes; those of the others are not known."""
    if takes == ALL:
        return frames.states
    known = np.isin(frames.takes, HALVES[takes])
    return np.where(known, frames.states, UNKNOWN).astype("int32")


def state_error(model: keras.Model, frames: Frames) -> float:
    logits = predict(model, frames.plain())
    return float(np.mean(logits.argmax(axis=-1) != frames.states))
