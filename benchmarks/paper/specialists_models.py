"""The models of `specialists.py`, of one seed."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_distill as kd
from benchmarks.harness import (
    CROSSENTROPY,
    Runs,
    adam,
    copy_of,
    kept_model,
)
from benchmarks.paper import pairs


@dataclass(frozen=True)
class Size:
    """How much is done."""

    seeds: int = 5
    train: int = 150_000
    test: int = 20_000
    epochs: int = 20
    specialist_epochs: tuple = (10, 30)
    sets: tuple = ((10, 10), (20, 10), (20, 20))
    temperatures: tuple = (1.0, 2.0, 4.0)
    hard_weights: tuple = (0.0, 0.5)
    batch: int = 500
    rate: float = 1e-2


SHORT = Size(
    seeds=1,
    train=2000,
    test=500,
    epochs=2,
    specialist_epochs=(1,),
    sets=((2, 10),),
    temperatures=(1.0,),
    hard_weights=(0.0,),
)


class Experiment:
    """All models of one seed, kept in a folder."""

    def __init__(
        self, size: Size, data: dict, runs: Runs, seed: int, part: str
    ) -> None:
        self.size, self.runs, self.seed, self.part = size, runs, seed, part
        self.name = f"{part}-{seed}"
        self.folder = runs.folder / self.name
        # Choices are made without the held-out images.
        train, test = data[part]
        self.train = pairs.pairs(*train, size.train, 2 * seed)
        self.test = pairs.pairs(*test, size.test, 2 * seed + 1)

    def kept(self, name: str, make: Callable[[], keras.Model]) -> keras.Model:
        def made() -> keras.Model:
            keras.utils.set_random_seed(self.seed)
            return self.fit(make())

        return kept_model(self.folder / f"{name}.keras", made)

    @functools.cached_property
    def generalist(self) -> keras.Model:
        features = self.train[0].shape[1]
        return self.kept("generalist", lambda: pairs.network(features))

    def fit(self, model: keras.Model) -> keras.Model:
        size = self.size
        return pairs.fit(model, self.train, size.epochs, size.batch, size.rate)

    @functools.cached_property
    def longer(self) -> keras.Model:
        generalist = self.generalist
        return self.kept("longer", lambda: copy_of(generalist))

    @functools.cache  # noqa: B019
    def found(self, count: int, classes: int) -> Any:
        return kd.specialists.confusable_classes(
            (self.generalist, self.train[0]),
            count,
            classes,
            class_names=pairs.NAMES,
            batch_size=1000,
        )

    def specialists(
        self, sets: tuple, epochs: int, full_softmax: bool = False
    ) -> list:
        size, (_, classes) = self.size, sets
        share = classes / pairs.CLASSES
        steps = 2 * share * epochs * size.train / size.batch
        return kd.specialists.train_specialists(
            self.generalist,
            self.train,
            self.found(*sets).class_sets,
            self.folder / "specialists",
            epochs=epochs,
            optimizer=adam(size.rate, steps),
            batch_size=size.batch,
            full_softmax=full_softmax,
            seed=self.seed,
            verbose=False,
        )

    def ensemble(
        self, sets: tuple, epochs: int, n: int, full_softmax: bool = False
    ) -> keras.Model:
        return kd.specialists.SpecialistEnsemble(
            self.generalist, self.specialists(sets, epochs, full_softmax), n
        )

    def teacher(self, chosen: dict) -> keras.Model:
        sets, epochs = tuple(chosen["sets"]), chosen["epochs"]
        return self.ensemble(sets, epochs, chosen["n"])

    def cache(self, chosen: dict) -> kd.TeacherCache:
        """What the teacher says of the training pairs."""
        (count, classes), n = chosen["sets"], chosen["n"]
        name = f"logits-{count}-{classes}-{chosen['epochs']}-{n}"
        return kd.TeacherCache.build(
            self.teacher(chosen),
            self.train[0],
            self.folder / name,
            batch_size=1000,
            verbose=0,
        )

    def student(self, chosen: dict, temperature: float, hard: float) -> Any:
        """The generalist, trained on by a teacher that runs once."""
        size = self.size
        cache = self.cache(chosen)
        keras.utils.set_random_seed(self.seed)
        distiller = kd.Distiller(
            None,
            copy_of(self.generalist),
            kd.losses.SoftTargets(temperature),
            hard_loss_weight=hard,
            soft_loss_weight=1 - hard,
        )
        steps = size.epochs * -(-size.train // size.batch)
        distiller.compile(adam(size.rate, steps), CROSSENTROPY)
        distiller.fit(
            cache.attach(self.train),
            batch_size=size.batch,
            epochs=size.epochs,
            verbose=0,
        )
        return distiller.student

    def right(self, model: keras.Model) -> np.ndarray:
        """Which test pairs a model names rightly."""
        x, y = self.test
        logits = model.predict(x, batch_size=1000, verbose=0)
        return np.argmax(logits, axis=1) == y
