"""Losses made of others, whose numbers stay theirs."""

from typing import Any, NamedTuple

import keras

from keras_distill._keras.numbers import having
from keras_distill.losses._labelled import LabelledLoss

Tensor = Any


class Place(NamedTuple):
    """Where a number is: the loss that has it, and its name there."""

    loss: int
    name: str


class MadeOfLosses(LabelledLoss):
    """A loss of several, by whose numbers a Distiller sets theirs.

    Abstract: a subclass has `_losses`, and says in `_named` what each number is
    called here.
    """

    _losses: tuple[Any, ...] = ()

    @staticmethod
    def _named(place: Place) -> str:
        raise NotImplementedError

    @property
    def _places(self) -> dict[str, Place]:
        places = [
            Place(i, name)
            for i, loss in enumerate(self._losses)
            for name in getattr(loss, "numbers", ())
        ]
        return {self._named(place): place for place in places}

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(self._places)

    @property
    def by_rows(self) -> bool:
        inner = (getattr(loss, "by_rows", False) for loss in self._losses)
        return super().by_rows and all(inner)

    def __getattr__(self, name: str) -> Any:
        place = None if name.startswith("_") else self._places.get(name)
        if place is None:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return getattr(self._losses[place.loss], place.name)

    def __setattr__(self, name: str, value: Any) -> None:
        place = None if name.startswith("_") else self._places.get(name)
        if place is None:
            super().__setattr__(name, value)
        else:
            setattr(self._losses[place.loss], place.name, value)

    def _having_numbers(self) -> list:
        """The losses, with the numbers that a step has put in here."""
        own = vars(self)
        found: list[dict] = [{} for _ in self._losses]
        for here, place in self._places.items():
            if here in own:
                found[place.loss][place.name] = own[here]
        return [
            having(loss, numbers)
            for loss, numbers in zip(self._losses, found, strict=True)
        ]


def called(loss: Any, teacher_logits: Tensor, z: Tensor, labels: Any) -> Tensor:
    """What a loss gives before it is reduced."""
    if getattr(loss, "uses_labels", False):
        return loss.call((teacher_logits, labels), z)
    return loss.call(teacher_logits, z)


def loaded(config: dict, *names: str) -> dict:
    """A config in which the losses of those names are losses."""
    deserialize = keras.saving.deserialize_keras_object
    return config | {name: deserialize(config[name]) for name in names}


def inner_loss(argument: str, loss: Any) -> keras.losses.Loss:
    """Refuses what is no loss, or has a reduction that would not count."""
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            f"`{argument}` must hold keras.losses.Loss instances. Received: "
            f"{loss!r} of type {type(loss).__name__}. Pass an object, for "
            "example kd.losses.SoftTargets(temperature=2.0)."
        )
    if loss.reduction != "sum_over_batch_size":
        raise ValueError(
            f"The reduction of a loss in `{argument}` would not count. "
            f"Received: {type(loss).__name__} with reduction="
            f"{loss.reduction!r}. Give the reduction to the loss around it."
        )
    return loss
