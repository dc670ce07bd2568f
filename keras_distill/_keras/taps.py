"""What layers give while a model runs, taken on the way, in the one pass.

A model of a layer's output, `keras.Model(inputs, layer.output)`, would do for
the layers of a Functional model itself. Those of a nested or a subclassed one
have no place in its graph, but all are called, and a call ends in a method that
an attribute of the instance may stand in for.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_distill._keras.inputs import structure
from keras_distill._keras.wrapping import known_inputs

Tensor = Any

_NOTHING = object()
_LOCK = threading.Lock()


class _Tap:
    """In the place of a layer's method, while someone wants what it gives."""

    def __init__(self, layer: keras.layers.Layer, name: str) -> None:
        self._layer, self._name = layer, name
        self._before = vars(layer).get(name, _NOTHING)
        self._method = getattr(layer, name)
        # The replicas of a TensorFlow strategy run in threads, turn by turn.
        self._wanted: dict[int, list] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._method(*args, **kwargs)
        wanted = self._wanted.get(threading.get_ident())
        if wanted is not None:
            wanted.append(outputs)
        return outputs

    def open(self, outputs: list) -> None:
        self._wanted[threading.get_ident()] = outputs
        # Not by Keras, which would track it.
        object.__setattr__(self._layer, self._name, self)

    def close(self) -> None:
        del self._wanted[threading.get_ident()]
        if self._wanted:
            return
        if self._before is _NOTHING:
            object.__delattr__(self._layer, self._name)
        else:
            object.__setattr__(self._layer, self._name, self._before)


@contextlib.contextmanager
def taken(layers: Sequence[keras.layers.Layer]) -> Iterator[list[list]]:
    """Gives lists that fill with what each layer returns, call by call."""
    found: dict[int, list] = {id(layer): [] for layer in layers}
    taps = []
    with _LOCK:
        for layer in {id(layer): layer for layer in layers}.values():
            taps.append(_tap_of(layer))
            taps[-1].open(found[id(layer)])
    try:
        yield [found[id(layer)] for layer in layers]
    finally:
        with _LOCK:
            for tap in taps:
                tap.close()


def _tap_of(layer: keras.layers.Layer) -> _Tap:
    quantized = getattr(layer, "quantization_mode", None)
    name = "quantized_call" if quantized else "call"
    tap = vars(layer).get(name)
    return tap if isinstance(tap, _Tap) else _Tap(layer, name)


def rematerialised(layer: keras.layers.Layer) -> bool:
    """Whether what is inside of a layer may be computed twice, out of reach."""
    remat = getattr(layer, "_remat_mode", None)
    if remat is None:
        return False
    return remat.mode != "list_of_layers" or layer.name in remat.layer_names


class _Run(keras.layers.Layer):
    """A function, whose results Keras can tell the shapes of."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self._function = function

    def call(self, x: Any) -> Any:
        return self._function(x)


def specs_of(
    model: keras.Model, layers: Sequence
) -> tuple[list[list], int | None] | None:
    """Symbolic tensors of what layers return, call by call, in one pass.

    With the size of a batch, where the model has one. None where the shapes of
    the model's inputs are not known.
    """
    known = known_inputs(model)
    if known is None:
        return None

    def inputs(dtype: str | None) -> Any:
        return keras.tree.map_structure(
            lambda spec: keras.KerasTensor(spec.shape, dtype or spec.dtype),
            known,
        )

    def run(x: Any) -> list[list]:
        with taken(layers) as found:
            model(x, training=False)
        return found

    batch = keras.tree.flatten(known)[0].shape[0]
    try:
        return _Run(run).compute_output_spec(inputs(None)), batch
    except Exception:
        if structure(model) is not None:
            raise
        # Of a subclassed model Keras knows shapes alone; it may take numbers.
        return _Run(run).compute_output_spec(inputs("int32")), batch
