"""The values of one step, looked at once, where a compiled step cannot raise.

A step that is not compiled is looked at while it runs. On JAX the batch of the
next step is looked at before it, outside of the compiled program: inside of it,
a branch that is taken once costs memory for all that it reads. On TensorFlow a
batch cannot be looked at without being drawn, and a compiled step notes numbers
in a variable, which the host reads after it. That they are wanted stands in the
same variable, and the step itself clears it, so that there is one program.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._keras.jax import Batch
from keras_distill._keras.numbers import scope
from keras_distill._keras.processes import in_one_program

Tensor = Any


class Report:
    """Numbers that tell of the values of a step, when they are asked for.

    Args:
        size: How many there are.
        receive: Gets them, as an array, and may raise. Under a TensorFlow
            strategy each of them is a sum over the replicas.
    """

    def __init__(
        self, size: int, receive: Callable[[np.ndarray], None]
    ) -> None:
        self._size, self._receive = size, receive
        self._wanted = self._outside = False
        self._noted: Any = None
        self._found: Any = None

    def ask(self) -> None:
        """Asks for the report of the next step of training."""
        self._wanted = True

    def in_step(self, model: Any, find: Callable[[], Tensor]) -> None:
        """Takes what `find` gives, if asked; called in a step of a model.

        A step that runs eagerly is asked each time.
        """
        if self._outside:
            self._found = find()
        elif not _is_compiled(model):
            if self._wanted or model.run_eagerly:
                self._deliver(find())
        elif self._noted is not None:
            self._note(find)

    def _note(self, find: Callable[[], Tensor]) -> None:
        before = ops.convert_to_tensor(self._noted)

        def found() -> Tensor:
            return ops.concatenate([ops.zeros((1,), "float32"), find()])

        now = ops.cond(before[0] > 0, found, lambda: before)
        self._noted.assign(now)

    def _deliver(self, numbers: Any) -> None:
        self._receive(ops.convert_to_numpy(numbers))
        self._wanted = False

    def asked_of(
        self,
        step_function: Callable,
        model: Any,
        look: Callable[[tuple, Batch], None],
    ) -> Callable:
        """A step function whose first step is asked for a report.

        Args:
            step_function: As `jax.guarded` calls it.
            model: The model whose step it is.
            look: On JAX, calls `in_step` with what a batch gives in a state.
        """
        self.ask()
        backend = keras.backend.backend()
        if backend == "tensorflow":
            return self._noting(step_function, model)
        if backend == "jax" and _is_compiled(model):
            return self._looking(step_function, look)
        return (
            self._uncompiled(step_function)
            if model.jit_compile
            else (step_function)
        )

    def _noting(self, step_function: Callable, model: Any) -> Callable:
        if not _is_compiled(model):
            return step_function
        wanted = np.eye(1, 1 + self._size, dtype="float32")[0]
        with scope(model):
            noted = keras.Variable(
                wanted,
                dtype="float32",
                trainable=False,
                autocast=False,
                aggregation="sum",
                synchronization="on_read",
                name="report",
            )

        def call(*args: Any) -> Any:
            before, self._noted = self._noted, noted
            try:
                if not self._wanted:
                    return step_function(*args)
                noted.assign(wanted)
                result = step_function(*args)
                self._deliver(ops.convert_to_tensor(noted)[1:])
                return result
            finally:
                self._noted = before

        return call

    def _looking(self, step_function: Callable, look: Callable) -> Callable:
        def call(state: tuple, iterator: Iterator) -> Any:
            if not self._wanted:
                return step_function(state, iterator)
            data = next(iterator)
            batch = data if isinstance(data, Batch) else data[0]
            seen = functools.partial(self._seen, look)
            found = in_one_program(seen)(state, batch)
            if found is not None:
                self._deliver(found)
            return step_function(state, _after(data, iterator))

        return call

    def _seen(self, look: Callable, state: tuple, batch: Batch) -> Any:
        """What is found by a look at a batch outside of its step."""
        self._outside, self._found = True, None
        try:
            look(state, batch)
            return self._found
        finally:
            self._outside, self._found = False, None

    def _uncompiled(self, step_function: Callable) -> Callable:
        """On torch, runs a step as it is written while a report is wanted."""
        if keras.backend.backend() != "torch":
            return step_function
        import torch

        # Before torch 2.6, two steps are compiled.
        as_written = getattr(torch.compiler, "set_stance", None)

        def call(*args: Any) -> Any:
            if not self._wanted or as_written is None:
                return step_function(*args)
            with as_written("force_eager"):
                return step_function(*args)

        return call


def _after(first: Any, iterator: Iterator) -> Iterator:
    """What was drawn, and then what `next` gives when it is asked for."""
    data = first
    while True:
        yield data
        try:
            data = next(iterator)
        except StopIteration:
            return


def _is_compiled(model: Any) -> bool:
    """Whether a step is a program that cannot look at values."""
    if model.run_eagerly or keras.backend.backend() == "torch":
        return False
    return keras.backend.backend() == "tensorflow" or model.jit_compile
