"""Teachers: Keras models, and functions of a batch that bear a fingerprint."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill import _checksums, _kinds, _validation
from keras_distill._keras import graph
from keras_distill._keras.fingerprint import fingerprint as of_weights
from keras_distill._keras.frozen import FrozenModel
from keras_distill._keras.wrapping import Wrapping
from keras_distill.cache import _records

# Takes a batch of NumPy arrays; what it returns gives float32 logits when it is
# called. A model has begun by then, so that a device is busy with one batch
# while another is written; a function begins when it is called.
Forward = Callable[[Any], Callable[[], np.ndarray]]


class Teacher(NamedTuple):
    """What a build needs of a teacher."""

    fingerprint: str
    forward: Forward
    # Of one example's inputs, None where they are not known.
    input_shapes: list[tuple] | None
    # Whether the processes of JAX must all ask for the same batches.
    spread: bool


def teacher(value: Any, fingerprint: str | None) -> Teacher:
    """A Keras model, or a function with a fingerprint, as a teacher."""
    if not isinstance(value, keras.Model):
        known = fingerprint_of(value, fingerprint)
        return Teacher(known, _function(value), None, False)
    _validation.one_output("teacher", value)
    graph.require_logits("teacher", value, _kinds.LOGITS)
    known, frozen = fingerprint_of(value, fingerprint), FrozenModel(value)
    run, shapes = frozen.compiled(), _input_shapes(value)
    return Teacher(known, _model(run), shapes, frozen.is_spread())


def fingerprint_of(value: Any, given: str | None) -> str:
    """The fingerprint of a model, or what the user gave with a function."""
    if isinstance(value, keras.Model):
        if given is not None:
            raise ValueError(
                "`fingerprint` is for a teacher that is a function. Received: "
                f"fingerprint={given!r} beside the Keras model {value.name!r}. "
                "Leave it out: a model is known by its weights."
            )
        return of_weights(value)
    _require_function(value)
    if not isinstance(given, str) or not given:
        raise ValueError(
            "A teacher that is a function needs a `fingerprint`, a string that "
            f"tells it from other teachers. Received: fingerprint={given!r}. "
            "Pass a name with a version, such as fingerprint='my-model@v3', "
            "and another one when the function gives other logits."
        )
    return given


def _require_function(value: Any) -> None:
    no_function = isinstance(value, type | keras.layers.Layer)
    if callable(value) and not no_function:
        return
    hint = "Pass the trained model, or a function that gives its logits."
    if isinstance(value, type):
        hint = "Pass an instance, not the class."
    elif isinstance(value, keras.layers.Layer):
        hint = "Wrap layers in a keras.Model."
    elif _validation.are_models(value):
        hint = "Make one teacher of several models with kd.Ensemble(models)."
    raise TypeError(
        "`teacher` must be a keras.Model, or a function of a batch with a "
        f"`fingerprint`. Received: teacher={value!r} of type "
        f"{type(value).__name__}. {hint}"
    )


# Keras models.


def _model(run: Callable[[Any], Any]) -> Forward:
    def forward(x: Any) -> Callable[[], np.ndarray]:
        convert = keras.ops.convert_to_tensor
        outputs = run(keras.tree.map_structure(convert, x))
        return lambda: _of_model(outputs)

    return forward


def _of_model(outputs: Any) -> np.ndarray:
    """A model's logits; refuses what its graph did not tell beforehand."""
    if keras.tree.is_nested(outputs):
        raise ValueError(_several(outputs))
    return _records.to_float32(_with_classes(outputs))


def _input_shapes(model: Any) -> list[tuple] | None:
    """Shapes of one example's inputs, None where they are not known."""
    if isinstance(model, Wrapping):
        return _input_shapes(model.wrapped()[0])
    if getattr(model, "inputs", None):
        return [tuple(tensor.shape[1:]) for tensor in model.inputs]
    shape = (model.get_build_config() or {}).get("input_shape")
    return [shape[1:] for shape in _leaves(shape)] if shape else None


def _leaves(shape: Any) -> list[tuple]:
    """The shapes in a structure of shapes, which are tuples themselves."""
    if isinstance(shape, dict):
        shape = [shape[name] for name in sorted(shape)]
    if all(size is None or isinstance(size, int) for size in shape):
        return [tuple(shape)]
    return [leaf for part in shape for leaf in _leaves(part)]


# Functions.


def _function(function: Callable) -> Forward:
    def forward(x: Any) -> Callable[[], np.ndarray]:
        # A copy, which the function may change; some arrays are read-only.
        return lambda: _of_function(
            function(keras.tree.map_structure(np.array, x))
        )

    return forward


def _of_function(outputs: Any) -> np.ndarray:
    """What a function returned, as float32 logits."""
    several = isinstance(outputs, tuple) and any(
        hasattr(part, "shape") for part in outputs
    )
    if several or isinstance(outputs, dict):
        raise ValueError(_several(outputs))
    logits = _with_classes(_array(outputs))
    with np.errstate(over="ignore"):  # Infinite logits are refused later.
        return logits.astype("float32", copy=False)


def _array(outputs: Any) -> np.ndarray:
    if not isinstance(outputs, list):
        return _numbers(_checksums.array(outputs), outputs)
    rows = [_checksums.array(row) for row in outputs]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise ValueError(
            "`teacher` must give logits of the same shape for each example. "
            f"Received: a list of rows of the shapes {sorted(shapes)}. "
            f"{_checksums.PADDING}"
        )
    return _numbers(np.asarray(rows), outputs)


def _numbers(logits: np.ndarray, outputs: Any) -> np.ndarray:
    # NumPy does not know bfloat16 itself, and tells its kind as void.
    if logits.dtype.kind not in "fiu" and logits.dtype.name != "bfloat16":
        raise ValueError(
            "`teacher` must give real numbers. Received: "
            f"{type(outputs).__name__} of dtype {logits.dtype}. Return an "
            "array of logits, shape (batch, ..., classes)."
        )
    return logits


# Both.


def _several(outputs: Any) -> str:
    return (
        "`teacher` must have one output. Received: outputs in a "
        f"{type(outputs).__name__}. Make one model per output first, or a "
        "function that returns one of them."
    )


def _with_classes(outputs: Any) -> Any:
    shape = tuple(outputs.shape)
    if len(shape) < 2 or shape[-1] < 1:
        raise ValueError(
            "`teacher` must give logits of shape (batch, ..., classes), one "
            f"for each class or label. Received: outputs of shape {shape}. "
            "Give a function whole batches, for which it returns a row for "
            "each example, also where that is one logit."
        )
    return outputs
