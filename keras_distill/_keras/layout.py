"""How batches and variables lie on the devices of JAX, in Keras and here."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_distill._keras.processes import is_spread

Tensor = Any


def run(step: Callable, values: list, x: Any) -> Any:
    """A step on JAX for one batch, of which each device computes its share.

    Where several processes each have all values, each computes by itself, on
    data of its own. Where they share them, all must come with the same batch.

    Args:
        step: A compiled function of values and inputs; the rows of what it
            gives are those of the inputs, each computed by itself.
        values: Of a model's variables.
        x: The inputs of a batch, in any structure.
    """
    import jax

    distribution = keras.distribution.distribution()
    if distribution is None:
        return step(values, x)
    if jax.process_count() > 1:
        return step(_own(values), x)
    rows = len(keras.tree.flatten(x)[0])
    outputs = step(values, keras.tree.map_structure(_laid_out, x))
    return keras.tree.map_structure(lambda found: found[:rows], outputs)


class Placed:
    """Values of variables on all devices, each moved there once.

    Those of a model that was made before the distribution lie on one device,
    from which each step would move them.
    """

    def __init__(self) -> None:
        self._distribution: Any = None
        self._moved: dict[int, tuple[Any, Any]] = {}

    def of(self, variables: list) -> list:
        distribution = None
        if keras.backend.backend() == "jax":
            distribution = keras.distribution.distribution()
        if distribution is not self._distribution:
            self._distribution, self._moved = distribution, {}
        if distribution is None:
            return [variable.value for variable in variables]
        return [self._of(variable) for variable in variables]

    def _of(self, variable: Any) -> Any:
        import jax

        value, (before, moved) = variable.value, self._known(variable)
        if value is before:
            return moved
        layout = self._distribution.get_variable_layout(variable)
        here = layout.backend_layout
        if len(value.sharding.device_set) < len(here.device_set):
            value = jax.device_put(value, here)
        self._moved[id(variable)] = variable.value, value
        return value

    def _known(self, variable: Any) -> tuple[Any, Any]:
        return self._moved.get(id(variable), (None, None))


@contextlib.contextmanager
def as_far_as_divisible() -> Iterator[None]:
    """Where variables of a `ModelParallel` are not divided, if they cannot be.

    A layer with other units keeps the name, and so the layout, of the one whose
    place it takes: an axis that the devices do not share evenly stays whole.
    """
    distribution: Any = keras.distribution.distribution()
    if distribution is None:
        yield
        return

    def layout_of(variable: Any) -> Any:
        layout = distribution.get_variable_layout(variable)
        return layout and _divisible(layout, tuple(variable.shape))

    fitted = copy.copy(distribution)
    fitted.get_variable_layout = layout_of
    with fitted.scope():
        yield


def _divisible(layout: Any, shape: tuple[int, ...]) -> Any:
    mesh = layout.device_mesh
    devices = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    axes = [
        axis if axis is None or size % devices[axis] == 0 else None
        for axis, size in zip(layout.axes, shape, strict=False)
    ]
    return keras.distribution.TensorLayout(axes, mesh)


def _own(values: list) -> list:
    """The values as this process has them, if it has them all."""
    if any(map(is_spread, values)):
        return values
    return [v.addressable_data(0) for v in values]


def _laid_out(inputs: Any) -> Any:
    """Rows over all devices; the last one again where these do not divide."""
    import jax

    distribution: Any = keras.distribution.distribution()
    missing = -len(inputs) % _rows_of_mesh(distribution)
    if missing and len(inputs):
        inputs = np.asarray(inputs)
        inputs = np.concatenate([inputs, *[inputs[-1:]] * missing])
    layout = distribution.get_data_layout(inputs.shape)
    return jax.device_put(inputs, layout.backend_layout)


def shares() -> int:
    """Into how many parts a process divides the batches of Keras's loops."""
    parts = parts_of_batch()
    if parts == 1:
        return 1
    import jax

    return max(1, parts // jax.process_count())


def parts_of_batch() -> int:
    """Into how many parts the devices of all processes divide a batch."""
    distribution: Any = keras.distribution.distribution()
    if keras.backend.backend() != "jax" or distribution is None:
        return 1
    return _rows_of_mesh(distribution)


def require_divided(name: str, rows: int, batch_size: int) -> None:
    """Refuses batches of arrays that the devices would not share evenly."""
    parts, last = shares(), rows % batch_size
    if parts == 1:
        return
    sizes = [batch_size] * (rows >= batch_size) + [last] * (last > 0)
    uneven = [size for size in sizes if size % parts]
    if uneven:
        raise ValueError(
            f"Each batch of `{name}` must be divided evenly over {parts} "
            f"devices. Received: {rows} examples in batches of {batch_size}, "
            f"of which one has {uneven[0]}. {_fix(parts)}"
        )


@contextlib.contextmanager
def divided() -> Iterator[None]:
    """Says of JAX's error for such a batch of a dataset what to do."""
    try:
        yield
    except ValueError as error:
        if type(error).__name__ != "IndivisibleError":
            raise
        raise ValueError(
            f"Each batch must be divided evenly over {shares()} devices. "
            f"Received: a batch of another size. {_fix(shares())} JAX says: "
            f"{error}"
        ) from error


def _fix(parts: int) -> str:
    return (
        f"Choose a batch size that is a multiple of {parts}, and leave out a "
        "smaller last batch: arrays without their last examples, or "
        "dataset.batch(size, drop_remainder=True)."
    )


def _rows_of_mesh(distribution: Any) -> int:
    mesh = distribution.device_mesh
    shape = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    return shape[distribution.batch_dim_name]
