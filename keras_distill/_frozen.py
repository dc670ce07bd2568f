"""A model that a step reads and never writes.

Keras would track a model kept in an attribute: train it, save it, count it, and
on JAX carry its variables in the training state, whose buffers a failing step
leaves empty. A `FrozenModel` is a plain object, so Keras leaves it alone, and
on JAX the model's values enter a step as data.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from keras_distill._fingerprint import fingerprint

Tensor = Any


class Batch(NamedTuple):
    """One batch of data, and the frozen values that go with it."""

    data: Any
    values: list


class FrozenModel:
    """Calls a model in inference mode, without gradient or side effect."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, computed once and kept until `forget`."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.model)
        return self._fingerprint

    def forget_fingerprint(self) -> None:
        """The weights may have been set anew since the last training run."""
        self._fingerprint = None

    def values(self) -> list:
        return [variable.value for variable in self.model.variables]

    def __call__(self, x: Tensor, values: list | None = None) -> Tensor:
        if not self.model.built:
            return self.model(x, training=False)
        if values is None:
            values = self.values()
        mapping = list(zip(self.model.variables, values, strict=True))
        with _no_gradient(), keras.StatelessScope(state_mapping=mapping):
            return self.model(x, training=False)


def supports_jit(*models: keras.Model) -> bool:
    """Whether all layers of the models can be compiled by XLA."""
    return all(
        layer.supports_jit
        for model in models
        for layer in model._flatten_layers()
    )


def split(data: Any) -> tuple[Any, list | None]:
    """Splits what a step received into the user's batch and frozen values."""
    return data if isinstance(data, Batch) else (data, None)


def feed(step_function: Callable, values: Callable[[], list]) -> Callable:
    """On JAX, joins frozen values to every batch a step function draws.

    As arguments of the compiled step they are neither compiled in as constants
    nor part of the state that Keras donates. The other backends read variables
    where they are.
    """
    if keras.backend.backend() != "jax":
        return step_function

    def fed(state: Any, iterator: Iterator) -> Any:
        return step_function(state, _Feed(iterator, values()))

    return fed


class _Feed:
    """What Keras's step functions need of an iterator: `next`."""

    def __init__(self, iterator: Iterator, values: list) -> None:
        self._iterator, self._values = iterator, values

    def __next__(self) -> Batch:
        return Batch(next(self._iterator), self._values)


def _no_gradient() -> contextlib.AbstractContextManager:
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()
