"""What JAX, and Keras's training loop on it, need of us; nothing elsewhere.

During `fit`, `evaluate` and `predict` on JAX, Keras moves the values of a
model's variables into the state of a compiled step and empties the variables.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import keras

from keras_distill._keras.processes import parts_here


class TracedFor:
    """What a compiled step holds for; with another one it is traced anew."""

    def __init__(self, key: Hashable) -> None:
        _register()
        self.key = key


@functools.cache
def _register() -> None:
    # As data without values, JAX compares it like the shape of an array. A new
    # jax.jit of the same method would not do: it finds the traces of the old.
    import jax

    jax.tree_util.register_pytree_node(
        TracedFor, lambda own: ((), own.key), lambda key, _: TracedFor(key)
    )


class Batch(NamedTuple):
    """One batch of data, and the values that are fed to a step with it."""

    data: Any
    values: Any
    traced_for: TracedFor


def unfed(data: Any) -> tuple[Any, Any]:
    """Splits what a step received into the user's batch and fed values."""
    return data[:2] if isinstance(data, Batch) else (data, None)


def guarded(
    step_function: Callable,
    model: Any,
    values: Callable[[], Any],
    variables: Callable[[], list],
    kept: Callable[[], list],
    traced_for: Callable[[], Hashable],
) -> Callable:
    """Feeds values to a step function, and gives back what a failed one took.

    As arguments of the compiled step the values are neither compiled in as
    constants nor part of the state that Keras donates. The other backends read
    them where they are.

    Where a step fails, because the data breaks off or the labels are refused,
    Keras would leave the model's variables empty.

    A step uses up the buffers of its state. `a.assign(b)` has given two
    variables one buffer: what shares one is copied, whenever Keras has read the
    state from the variables anew.

    Args:
        step_function: Called by Keras with a state and an iterator of batches,
            of which it needs `next` alone.
        model: The model whose step it is.
        values: Gives what to feed, in any structure; None is nothing.
        variables: Gives the variables whose values are the state, a list for
            each of its parts.
        kept: Gives values that are to outlive each step.
        traced_for: Gives what the next step is to be traced for, if it was not.
    """
    if keras.backend.backend() != "jax":
        return step_function

    def feed(iterator: Iterator) -> Any:
        found, steps = values(), model.steps_per_execution
        if found is None:
            return iterator
        return _Feed(iterator, (found, TracedFor(traced_for())), steps)

    def call(state: tuple, iterator: Iterator) -> Any:
        if model.state_is_new:
            model.state_is_new = False
            state = _unshared(state, kept())
        try:
            return step_function(state, feed(iterator))
        except StopIteration:
            raise
        except BaseException:
            _give_back(model, variables(), state)
            raise

    return call


def _unshared(state: tuple, kept: list) -> tuple:
    """The state, with a copy in place of each value whose buffer is in use."""
    import jax

    taken = {place for value in kept for place in _buffers(value)}

    def own(value: Any) -> Any:
        places = _buffers(value)
        if places & taken:
            return jax.numpy.copy(value)
        taken.update(places)
        return value

    return tuple([own(value) for value in part] for part in state)


def _buffers(value: Any) -> set:
    """Where an array lies: a device and an address for each shard of it.

    Arrays that are two objects may lie in one place, as what
    `jax.device_put` returns.
    """
    if value.size == 0 or value.is_deleted():
        return set()
    return {
        (device.id, part.unsafe_buffer_pointer())
        for part in parts_here(value)
        for device in part.devices()
    }


class _Feed:
    """What Keras's step functions need of an iterator: `next`.

    From Keras 3.16 on, several steps per execution get their batches stacked,
    and scan them. Values beside them would have to be stacked as well, a copy
    for each step. As a list, which Keras itself makes of the last batches, they
    are trained on one by one, as on Keras 3.15.
    """

    def __init__(self, iterator: Iterator, fed: tuple, steps: int) -> None:
        self._iterator, self._fed, self._steps = iterator, fed, steps

    def __next__(self) -> Any:
        data, several = next(self._iterator), list_of_batches()
        if self._steps == 1 or several is None:
            return Batch(data, *self._fed)
        batches = data if isinstance(data, several) else _unstacked(data)
        return several([Batch(batch, *self._fed) for batch in batches])


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


def jitted(function: Callable) -> Callable:
    """One compiled function, where JAX would compile each operation."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def on_tpu() -> bool:
    """Whether what is compiled runs on a TPU, if it runs here."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "tpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("TPU"))
    return False


@contextlib.contextmanager
def double_precision() -> Iterator[str]:
    """Gives the widest float dtype that the device computes linear algebra in.

    JAX has float64 in the context alone, also while a float32 function is
    traced; results must be cast back inside of what uses them.
    """
    if on_tpu():
        yield "float32"
        return
    if keras.backend.backend() != "jax":
        yield "float64"
        return
    import jax
    import jax.experimental

    # Where it was before it became public.
    place: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
    with place.enable_x64(True):
        yield "float64"


@contextlib.contextmanager
def compiled_programs_kept(folder: str | None) -> Iterator[None]:
    """Takes from a folder what JAX has compiled before, and adds to it.

    It is JAX's persistent compilation cache, which knows a program by its
    operations and shapes, not by names or by values that are fed to it. One
    that the user has set is left as it is; so is one that is switched off.

    Args:
        folder: Made when something is kept. None leaves all as it is.
    """
    if folder is None or keras.backend.backend() != "jax":
        yield
        return
    import jax

    # However fast it was compiled, however small it is.
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    if before["jax_compilation_cache_dir"]:
        yield
        return
    _set_cache(settings)
    try:
        yield
    finally:
        _set_cache(before)


def _set_cache(settings: dict[str, Any]) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    # Else JAX goes on with the folder that it has opened.
    compilation_cache.reset_cache()
