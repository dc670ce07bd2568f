"""What JAX, and Keras's training loop on it, need of us; nothing elsewhere.

During `fit`, `evaluate` and `predict` on JAX, Keras moves the values of a
model's variables into the state of a compiled step and empties the variables.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras


class Batch(NamedTuple):
    """One batch of data, and the values that are fed to a step with it."""

    data: Any
    values: Any


def unfed(data: Any) -> tuple[Any, Any]:
    """Splits what a step received into the user's batch and fed values."""
    return data if isinstance(data, Batch) else (data, None)


def guarded(
    step_function: Callable,
    model: Any,
    values: Callable[[], Any],
    variables: Callable[[], list],
) -> Callable:
    """Feeds values to a step function, and gives back what a failed one took.

    As arguments of the compiled step the values are neither compiled in as
    constants nor part of the state that Keras donates. The other backends read
    them where they are.

    Where a step fails, because the data breaks off or the labels are refused,
    Keras would leave the model's variables empty.

    Args:
        step_function: Called by Keras with a state and an iterator of batches,
            of which it needs `next` alone.
        model: The model whose step it is.
        values: Gives what to feed, in any structure; None is nothing.
        variables: Gives the variables whose values are the state, a list for
            each of its parts.
    """
    if keras.backend.backend() != "jax":
        return step_function

    def feed(iterator: Iterator) -> Any:
        found, steps = values(), model.steps_per_execution
        return iterator if found is None else _Feed(iterator, found, steps)

    def call(state: tuple, iterator: Iterator) -> Any:
        try:
            return step_function(state, feed(iterator))
        except StopIteration:
            raise
        except BaseException:
            _give_back(model, variables(), state)
            raise

    return call


class _Feed:
    """What Keras's step functions need of an iterator: `next`.

    From Keras 3.16 on, several steps per execution get their batches stacked,
    and scan them. Values beside them would have to be stacked as well, a copy
    for each step. As a list, which Keras itself makes of the last batches, they
    are trained on one by one, as on Keras 3.15.
    """

    def __init__(self, iterator: Iterator, values: Any, steps: int) -> None:
        self._iterator, self._values, self._steps = iterator, values, steps

    def __next__(self) -> Any:
        data, several = next(self._iterator), list_of_batches()
        if self._steps == 1 or several is None:
            return Batch(data, self._values)
        batches = data if isinstance(data, several) else _unstacked(data)
        return several([Batch(batch, self._values) for batch in batches])


def _unstacked(data: Any) -> list:
    count = len(keras.tree.flatten(data)[0])
    return [
        keras.tree.map_structure(lambda a, i=i: a[i], data)
        for i in range(count)
    ]


def list_of_batches() -> Any:
    """Keras's class of batches that are not stacked, None before 3.16."""
    place = "keras.src.trainers.data_adapters.data_adapter_utils"
    return getattr(sys.modules.get(place), "PartialBatchList", None)


def _give_back(model: Any, variables: list, state: tuple) -> None:
    # A step that failed while it ran has used up the buffers of its state.
    if any(leaf.is_deleted() for leaf in keras.tree.flatten(state)):
        return
    # Else Keras would do so when `fit` ends, with the state of the step before,
    # over what a callback has changed since.
    fill_variables(model)
    for part, values in zip(variables, state, strict=True):
        for variable, value in zip(part, values, strict=True):
            variable.assign(value)


def fill_variables(model: Any) -> None:
    """Gives variables that Keras has emptied the values of the last step."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


@contextlib.contextmanager
def double_precision() -> Iterator[str]:
    """Gives the widest float dtype that the device computes linear algebra in.

    JAX has float64 in the context alone, also while a float32 function is
    traced; results must be cast back inside of what uses them.
    """
    if keras.backend.backend() != "jax":
        yield "float64"
        return
    import jax
    import jax.experimental

    if jax.default_backend() == "tpu":
        yield "float32"
        return
    # Where it was before it became public.
    place: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
    with place.enable_x64(True):
        yield "float64"
