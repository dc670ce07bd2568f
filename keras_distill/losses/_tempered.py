"""Numbers of a loss that may be set at any moment, such as a temperature."""

from collections.abc import Callable
from typing import Any

from keras_distill import _kinds, _schedules, _validation
from keras_distill.losses._recomputed import RecomputedLoss


class Number:
    """An attribute that is checked when it is set.

    The value lies in the instance, where a step of a Distiller puts a tensor.

    Args:
        check: Gets the name and the value, and returns the number.
    """

    def __init__(self, check: Callable[[str, Any], float]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, loss: Any, owner: type | None = None) -> Any:
        return self if loss is None else vars(loss)[self._name]

    def __set__(self, loss: Any, value: Any) -> None:
        vars(loss)[self._name] = _schedules.checked(
            lambda number: self._check(self._name, number), value
        )


def a_temperature() -> Any:
    return Number(lambda _, value: _validation.temperature(value))


class NumberedLoss(RecomputedLoss):
    """A loss whose `numbers` are in its config."""

    numbers: tuple[str, ...]

    def get_config(self) -> dict:
        numbers = {
            name: _schedules.written(getattr(self, name))
            for name in self.numbers
        }
        return {**super().get_config(), **numbers}

    @classmethod
    def from_config(cls, config: dict) -> Any:
        return cls(**_schedules.read(config, cls.numbers))


class TemperedLoss(NumberedLoss):
    """A loss between classes with one hyperparameter, the temperature."""

    compares = _kinds.CLASSES
    numbers = ("temperature",)
    temperature = a_temperature()

    def __init__(
        self,
        temperature: float,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = temperature
