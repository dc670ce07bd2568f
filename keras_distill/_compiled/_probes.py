"""What a loss or a metric gives for a few made-up labels and outputs.

On JAX all of them are compiled together, once; the labels, the outputs and the
number of classes are the same for all models of one shape.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._compiled._marks import SHORT_FOR_SEVERAL
from keras_distill._keras.jax import jitted

Array = np.ndarray
Shape = tuple[int, ...]
# Labels in the forms that a loss may want, the one to try first first.
Labels = tuple[Array, ...]
Call = Callable[[Any, Any], Any]
Result = list[list[Array]] | Exception
CLASSES = 5  # Where nothing says how many there are.


def shape_like(shape: Sequence[int | None] | None) -> Shape:
    """A few rows, so many that labels broadcast against no other axis."""
    inner = list(shape or (None, None))[1:]
    if not inner:
        return (4,)
    classes = inner[-1] or CLASSES
    places = 3 if classes == 2 else 2
    rows = 5 if classes == 4 else 4
    return (rows, *(places,) * (len(inner) - 1), classes)


def call_of_loss(item: Any) -> Call:
    """A loss as `compile` takes it, called as a compiled loss is."""

    def call(y: Any, z: Any) -> Any:
        with keras.StatelessScope():
            return _resolved_loss(item, y, z)(y, z)

    return call


def _resolved_loss(item: Any, y: Any, z: Any) -> Any:
    if isinstance(item, str) and item.lower() in SHORT_FOR_SEVERAL:
        item = f"{_kind(y, z)}_crossentropy"
    found = keras.losses.get(item)
    return found if isinstance(found, keras.losses.Loss) else _Wrapped(found)


class _Wrapped(keras.losses.Loss):
    """Casts, as a compiled function does, the labels to the outputs' dtype."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.call = function


def _kind(y: Any, z: Any) -> str:
    """What Keras takes the labels for, by their shape."""
    if z.shape[-1] == 1:
        return "binary"
    sparse = len(y.shape) < len(z.shape) or y.shape[-1] == 1
    return "sparse_categorical" if sparse else "categorical"


def call_of_metric(item: Any) -> Call:
    """A metric as `compile` takes it: its result on new data alone."""

    def call(y: Any, z: Any) -> Any:
        metric = _new_metric(item, y, z)
        with keras.StatelessScope():
            metric.update_state(y, z)
            return metric.result()

    return call


def _new_metric(item: Any, y: Any, z: Any) -> keras.metrics.Metric:
    if isinstance(item, str) and item.lower() in SHORT_FOR_SEVERAL:
        name = f"{_kind(y, z)}_accuracy"
        item = getattr(keras.metrics, name.title().replace("_", ""))
    found = keras.metrics.get(item)
    if not isinstance(found, keras.metrics.Metric):
        return keras.metrics.MeanMetricWrapper(found)
    return type(found).from_config(found.get_config())


def results(
    calls: Sequence[Call], labels: Labels, outputs: Sequence[Array]
) -> list[Result]:
    """For each call its values for all outputs, or why it has none."""
    with _undisturbed():
        found = _together(calls, labels, outputs)
        # What cannot be compiled may still run.
        return [
            _alone(call, labels, outputs) if isinstance(r, Exception) else r
            for call, r in zip(calls, found, strict=True)
        ]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without warnings, and on this process alone."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        keras.distribution.set_distribution(before)


def _together(
    calls: Sequence[Call], labels: Labels, outputs: Sequence[Array]
) -> list[Result]:
    failed: dict[int, Exception] = {}

    def run(labels: Any, z: Any) -> list:
        values = []
        for i, call in enumerate(calls):
            try:
                values.append(_first_form(call, labels, z))
            except Exception as error:
                failed[i] = error
                values.append(None)
        return values

    try:
        step = jitted(run)
        rows = [[_arrays(v) for v in step(labels, z)] for z in outputs]
    except Exception as error:
        return [error] * len(calls)
    return [
        failed.get(i, list(values))
        for i, values in enumerate(zip(*rows, strict=True))
    ]


def _alone(call: Call, labels: Labels, outputs: Sequence[Array]) -> Result:
    try:
        return [_arrays(_first_form(call, labels, z)) for z in outputs]
    except Exception as error:
        return error


def _first_form(call: Call, labels: Labels, z: Any) -> Any:
    """With the first form of labels that the call takes."""
    errors = []
    z = keras.ops.convert_to_tensor(z)
    for y in labels:
        try:
            return call(keras.ops.convert_to_tensor(y), z)
        except Exception as error:
            errors.append(error)
    raise errors[0]


def _arrays(value: Any) -> list[Array]:
    leaves = keras.tree.flatten(value)
    leaves = [v for v in leaves if v is not None]
    return [
        np.asarray(keras.ops.convert_to_numpy(leaf), "float64")
        for leaf in leaves
    ]
