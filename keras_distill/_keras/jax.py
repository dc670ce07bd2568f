"""What JAX, and Keras's training loop on it, need of us; nothing elsewhere.

During `fit`, `evaluate` and `predict` on JAX, Keras moves the values of a
model's variables into the state of a compiled step and empties the variables.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

# The parts of a step's state, by the number of parts: predict, test, train.
_STATES = {
    2: ("trainable_variables", "non_trainable_variables"),
    3: (
        "trainable_variables",
        "non_trainable_variables",
        "metrics_variables",
    ),
    4: (
        "trainable_variables",
        "non_trainable_variables",
        "optimizer_variables",
        "metrics_variables",
    ),
}


class Batch(NamedTuple):
    """One batch of data, and the frozen values that go with it."""

    data: Any
    values: list


def split(data: Any) -> tuple[Any, list | None]:
    """Splits what a step received into the user's batch and frozen values."""
    return data if isinstance(data, Batch) else (data, None)


def feed(step_function: Callable, values: Callable[[], list]) -> Callable:
    """Joins frozen values to every batch that a step function draws.

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


def keep_state(model: keras.Model, step_function: Callable) -> Callable:
    """Gives a model its variables back when a step fails.

    Keras would leave them empty, and with them the student's weights, when the
    data breaks off or the first step refuses its labels.
    """
    if keras.backend.backend() != "jax":
        return step_function

    def kept(state: tuple, iterator: Iterator) -> Any:
        try:
            return step_function(state, iterator)
        except StopIteration:
            raise
        except BaseException:
            _give_back(model, state)
            raise

    return kept


def _give_back(model: Any, state: tuple) -> None:
    # A step that failed while it ran has used up the buffers of its state.
    if any(leaf.is_deleted() for leaf in keras.tree.flatten(state)):
        return
    model._jax_state = dict(zip(_STATES[len(state)], state, strict=True))
    model._jax_state_synced = False
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
