"""What one compiled step finds out, and the host reads once, after it.

A compiled step cannot raise an error about the values that it sees. It can note
numbers in a variable. That they are wanted stands in the same variable, which
the step itself clears, so that it happens once, in one and the same program. On
JAX the variable is part of the state of a step, beside those of the metrics.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._keras.jax import give_back

Tensor = Any


class Report:
    """Numbers that a step notes when they are asked for.

    Args:
        size: How many there are.
        receive: Gets them, as an array, after the step, and may raise. Under a
            TensorFlow strategy each of them is the sum over the replicas.
    """

    def __init__(self, size: int, receive: Callable[[np.ndarray], None]):
        self._size, self._receive = size, receive
        self._wanted = False
        self.variable = keras.Variable(
            np.zeros(1 + size, "float32"),
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="sum",
            synchronization="on_read",
            name="report",
        )

    def ask(self) -> None:
        """Asks for the report of the step that comes after `prepare`."""
        self._wanted = True

    def prepare(self) -> None:
        """Called while the variables are filled, before a step is run."""
        if self._wanted:
            asked = np.zeros(1 + self._size, "float32")
            asked[0] = 1
            self.variable.assign(asked)

    def in_step(self, model: Any, find: Callable[[], Tensor]) -> None:
        """Notes what `find` gives, if asked; called in a step of a model.

        A step that is not compiled is stopped at once by what `receive` raises,
        and reports each time where it runs eagerly.
        """
        if not _is_compiled(model):
            if self._wanted or model.run_eagerly:
                self._deliver(find())
            return
        before = ops.convert_to_tensor(self.variable)

        def found() -> Tensor:
            return ops.concatenate([ops.zeros((1,), before.dtype), find()])

        now = ops.cond(before[0] > 0, found, lambda: before)
        self.variable.assign(now)

    def read_after(
        self,
        step_function: Callable,
        model: Any,
        variables: Callable[[], list],
    ) -> Callable:
        """The step function, after which an answer is received.

        Args:
            step_function: As Keras calls it.
            model: The model whose step it is.
            variables: As in `jax.guarded`.
        """
        jax = keras.backend.backend() == "jax"

        def call(*args: Any) -> Any:
            if not self._wanted:
                return step_function(*args)
            if not _is_compiled(model):
                with _uncompiled():
                    return step_function(*args)
            result = step_function(*args)
            if not jax:
                self._deliver(self.variable, skip=1)
                return result
            state = result[1]
            try:
                self._deliver(state[-1][self._place(model)], skip=1)
            except BaseException:
                give_back(model, variables(), state)
                raise
            return result

        return call

    def _place(self, model: Any) -> int:
        places = [v is self.variable for v in model.metrics_variables]
        return places.index(True)

    def _deliver(self, numbers: Any, skip: int = 0) -> None:
        self._receive(ops.convert_to_numpy(numbers)[skip:])
        self._wanted = False


def _is_compiled(model: Any) -> bool:
    backend = keras.backend.backend()
    always, never = backend == "tensorflow", backend == "torch"
    return (always or (model.jit_compile and not never)) and (
        not model.run_eagerly
    )


def _uncompiled() -> contextlib.AbstractContextManager:
    """Where torch runs a compiled step as it is written."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    # Before torch 2.6, the first and the second step are compiled.
    set_stance = getattr(torch.compiler, "set_stance", None)
    return set_stance("force_eager") if set_stance else contextlib.nullcontext()
