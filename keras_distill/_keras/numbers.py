"""Numbers that a step reads anew each time it runs, such as a temperature.

As constants of a compiled step they could not change. On JAX they are fed to
it; on the other backends a compiled step reads them in variables that belong to
no model, and a step that is not compiled reads them where they are.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_distill._schedules import is_scheduled

Numbers = dict[str, Any]


class Door:
    """Through which the numbers of a model come into its compiled steps.

    Args:
        read: Gives the numbers as they are, in dicts and lists: Python floats,
            and `Scheduled` in the place of those that a step computes.
    """

    def __init__(self, read: Callable[[], Numbers]) -> None:
        self._read = read
        self._cells: Any = None

    def read(self) -> Numbers:
        """The numbers, with 0 for those that a step computes."""
        return _mapped(_or_zero, self._read())

    def scheduled(self) -> tuple:
        """Which numbers a step computes, and from what."""
        found: list = []
        _mapped(found.append, self._read())
        return tuple(n if is_scheduled(n) else None for n in found)

    def opened(self, step_function: Callable, model: Any) -> Callable:
        """The step function, which finds at each call what the numbers are."""
        if not _reads_in_variables(model):
            return step_function
        with scope(model):
            cells = keras.tree.map_structure(_cell, self.read())
        flat, last = keras.tree.flatten(cells), keras.tree.flatten(self.read())

        def call(*args: Any) -> Any:
            _write(flat, last, keras.tree.flatten(self.read()))
            before, self._cells = self._cells, cells
            try:
                return step_function(*args)
            finally:
                self._cells = before

        return call

    def in_step(
        self, fed: Numbers | None, updates: Callable[[], Any]
    ) -> Numbers:
        """The numbers, as a step is to read them.

        Args:
            fed: Those that the step got with its batch, None on backends
                that do not feed them.
            updates: Gives how many updates the optimizer has made.
        """

        def find(own: Any, number: Any) -> Any:
            return own.at(updates()) if is_scheduled(own) else number

        numbers = self._given(fed)
        return keras.tree.map_structure(find, self._read(), numbers)

    def _given(self, fed: Numbers | None) -> Numbers:
        if fed is not None:
            return fed
        if self._cells is not None:
            return keras.tree.map_structure(lambda v: v.value, self._cells)
        return self.read()


def _mapped(function: Callable[[Any], Any], numbers: Any) -> Any:
    """As `keras.tree.map_structure`, which takes longer than a step may."""
    if isinstance(numbers, dict):
        return {k: _mapped(function, v) for k, v in numbers.items()}
    if isinstance(numbers, list):
        return [_mapped(function, v) for v in numbers]
    return function(numbers)


def having(owner: Any, numbers: Numbers) -> Any:
    """A shallow copy of an object in which attributes have other values.

    Its own setters, which check what a user writes, are not asked. Keras's
    losses refuse `copy.copy`.
    """
    if not numbers:
        return owner
    copy = object.__new__(type(owner))
    vars(copy).update(vars(owner), **numbers)
    return copy


def _or_zero(number: Any) -> Any:
    return 0.0 if is_scheduled(number) else number


def _reads_in_variables(model: Any) -> bool:
    backend = keras.backend.backend()
    compiled = backend == "tensorflow" or model.jit_compile
    return backend != "jax" and compiled and not model.run_eagerly


def scope(model: Any) -> contextlib.AbstractContextManager:
    """Where the replicas of a TensorFlow strategy each get a variable."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return model.distribute_strategy.scope()


def _cell(number: float) -> keras.Variable:
    wide = keras.config.floatx() == "float64"
    return keras.Variable(
        number,
        dtype="float64" if wide else "float32",
        trainable=False,
        autocast=False,
        name="number",
    )


def _write(cells: Sequence, last: list, numbers: list) -> None:
    for i, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        if number != last[i]:
            cell.assign(number)
            last[i] = number
