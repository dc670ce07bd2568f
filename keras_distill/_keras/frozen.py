"""A model that a step reads and never writes.

Keras would track a model kept in an attribute: train it, save it, count it, and
on JAX empty its variables while a step runs. A `FrozenModel` is a plain object,
so Keras leaves it alone; on JAX its values enter a step as data.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_distill._keras import layout
from keras_distill._keras.inputs import own_entries
from keras_distill._keras.layers import all_layers
from keras_distill._keras.processes import is_spread
from keras_distill._keras.wrapping import Wrapping

Tensor = Any


class FrozenModel:
    """Calls a model in inference mode, without gradient or side effect.

    Variables that belong to another model too, that of a frozen layer which
    teacher and student share, are left to that model.
    """

    def __init__(
        self, model: keras.Model, other: keras.Model | None = None
    ) -> None:
        self.model = model
        self._other = other
        self._own: list | None = None
        self._placed = layout.Placed()
        # Stands for the model where a step is remembered, and does not hold it.
        self.key = object()

    def look_again(self) -> None:
        """Takes another key where `model.quantize`, say, changed variables."""
        before, self._own = self._own, None
        if before is None or not self.model.built:
            return
        own = self._own_variables()
        if [id(v) for v in before] != [id(v) for v in own]:
            self.key = object()

    def values(self) -> list:
        return self._placed.of(self._own_variables())

    def is_spread(self) -> bool:
        """Whether the processes of JAX must all run it, on the same data."""
        return any(is_spread(value) for value in self.values())

    def compiled(self) -> Callable[[Tensor], Tensor]:
        """The call on `x` alone, compiled as Keras would for `predict`."""
        step = self._compiled()

        def call(x: Tensor) -> Tensor:
            if not self.model.built:
                self(x)  # Variables must not be made in a compiled step.
            return step(x)

        return call

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        backend = keras.backend.backend()
        if backend == "jax" and self.model.jit_compile:
            import jax

            step = jax.jit(lambda values, x: self(x, values))
            return lambda x: layout.run(step, self.values(), x)
        if backend == "tensorflow":
            import tensorflow as tf

            return tf.function(
                lambda x: self(x),
                jit_compile=self.model.jit_compile,
                reduce_retracing=True,
            )
        return self.__call__

    def _own_variables(self) -> list:
        if self._own is None:
            others = self._other.variables if self._other else []
            shared = {id(variable) for variable in others}
            self._own = [v for v in self.model.variables if id(v) not in shared]
        return self._own

    def __call__(
        self, x: Tensor, values: list | None = None, shared: Iterable = ()
    ) -> Tensor:
        """Runs the model on `x`.

        Args:
            x: Inputs of the model.
            values: What `values()` gave, the present values by default.
            shared: Pairs of a shared variable and its value.
        """
        x = own_entries(self.model, x)
        if not self.model.built:
            return self.model(x, training=False)
        if values is None:  # Those of a step that is traced, if one is.
            values = [variable.value for variable in self._own_variables()]
        mapping = [*shared, *zip(self._own_variables(), values, strict=True)]
        with _no_gradient(), keras.StatelessScope(state_mapping=mapping):
            return self.model(x, training=False)


class FrozenVariables(Wrapping):
    """A model none of whose variables is trained.

    The `trainable` flags of its members, which may be trained elsewhere, stay
    as they are.
    """

    @property
    def trainable_variables(self) -> list:
        return []

    @property
    def non_trainable_variables(self) -> list:
        return self.variables

    @property
    def trainable_weights(self) -> list:
        return []

    @property
    def non_trainable_weights(self) -> list:
        return self.weights


def supports_jit(*models: keras.Model) -> bool:
    """Whether all layers of the models can be compiled by XLA."""
    return all(
        layer.supports_jit for model in models for layer in all_layers(model)
    )


def _no_gradient() -> contextlib.AbstractContextManager:
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()
