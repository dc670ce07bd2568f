"""Numbers that follow a schedule of Keras, step by step.

A schedule takes the place of a number. What a step finds there is its value at
the number of updates that the optimizer has made, which is saved with it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Schedule = keras.optimizers.schedules.LearningRateSchedule
Tensor = Any

# A cosine ends at 0, where a temperature gives NaN; see `Scheduled`.
LOWEST_TEMPERATURE = 1e-3
LOWEST_WEIGHT = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Scheduled:
    """A schedule in the place of a number.

    Equal to another one of the very same schedule: a step that was traced for
    the one is good for the other.

    Attributes:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        lowest: What a step gets where the schedule falls below it.
    """

    schedule: Any
    lowest: float | None

    def at(self, updates: Any) -> Tensor:
        """The value after a number of updates, in at least float32."""
        wide = keras.config.floatx() == "float64"
        value = self.schedule(ops.convert_to_tensor(updates))
        value = ops.cast(value, "float64" if wide else "float32")
        return value if self.lowest is None else ops.maximum(value, self.lowest)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Scheduled)
            and self.schedule is other.schedule
            and self.lowest == other.lowest
        )

    def __hash__(self) -> int:
        return hash((id(self.schedule), self.lowest))


def is_schedule(value: Any) -> bool:
    return isinstance(value, Schedule)


def is_scheduled(number: Any) -> bool:
    return isinstance(number, Scheduled)


def number(value: Any, lowest: float | None) -> Any:
    """What a step reads: the number, or that it is scheduled."""
    return Scheduled(value, lowest) if is_schedule(value) else value


def number_of(name: str, value: Any) -> Any:
    """The same, of an attribute of a loss; what it is shows by its name."""
    if name.endswith("temperature"):
        return number(value, LOWEST_TEMPERATURE)
    return number(value, LOWEST_WEIGHT if name.endswith("weight") else None)


def numbers_of(loss: Any) -> dict[str, Any]:
    """What a step reads of a loss, which says what it has."""
    names = getattr(loss, "numbers", ())
    return {name: number_of(name, getattr(loss, name)) for name in names}


def checked(check: Callable[[Any], float], value: Any) -> Any:
    """A number as it is checked, or a schedule that begins with one."""
    if callable(value) and not is_schedule(value):
        raise TypeError(
            "What stands for a number must be one of keras.optimizers."
            f"schedules. Received: {type(value).__name__} {value!r}. Pass a "
            "number, a subclass of keras.optimizers.schedules."
            "LearningRateSchedule, or set numbers in a callback."
        )
    if not is_schedule(value):
        return check(value)
    first = value(ops.convert_to_tensor(0))
    try:
        check(_plain(first))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"A schedule must begin with a number that is allowed. {error} "
            f"This is the value at step 0 of {value!r}."
        ) from error
    return value


def _plain(value: Any) -> Any:
    """A scalar tensor as a Python number."""
    value = ops.convert_to_numpy(value)
    return value.item() if value.size == 1 else value


def written(value: Any) -> Any:
    """A number as it is, a schedule as its config."""
    return keras.saving.serialize_keras_object(value)


def read(config: dict, names: Sequence[str]) -> dict:
    """A config in which entries may be the configs of schedules."""
    return config | {
        name: keras.saving.deserialize_keras_object(config[name])
        for name in names
        if name in config
    }


def named(
    numbers: dict, outputs: Sequence[str], features: Sequence[str]
) -> dict[str, Scheduled]:
    """What is scheduled, by the names that it has in the logs.

    Args:
        numbers: Those of an objective.
        outputs: The name of the output of each of its terms. It is put before
            the name of a number that is not the same for all of them.
        features: The same, of each feature.
    """
    terms = zip(outputs, numbers["soft"], numbers["losses"], strict=True)
    found = [("hard_loss_weight", "", numbers["hard"])]
    for output, weight, own in terms:
        found.append(("soft_loss_weight", output, weight))
        found += [(name, output, own[name]) for name in own]
    for layer, own in zip(features, numbers["features"], strict=True):
        found.append(("feature_weight", layer, own["weight"]))
        found += [(name, layer, own["loss"][name]) for name in own["loss"]]
    logged = {}
    for name, output, value in found:
        if is_scheduled(value):
            same = all(other == value for of, _, other in found if of == name)
            logged[name if same else f"{output}_{name}"] = value
    return logged
