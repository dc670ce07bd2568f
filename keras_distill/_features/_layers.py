"""The layers of a model whose outputs are features, found by name or path."""

import difflib
from collections.abc import Sequence
from typing import Any

import keras

from keras_distill._keras import taps
from keras_distill._keras.layers import ways_to_layers

Tensor = Any

_SHOWN = 40


class Layers:
    """Some of a model's layers, and what each gives in a pass.

    Args:
        role: What the model is called: "teacher" or "student".
        model: A built Keras model.
        paths: Names or paths of layers.
    """

    def __init__(
        self, role: str, model: keras.Model, paths: Sequence[str]
    ) -> None:
        self._role, self._paths = role, paths
        self.found = [_layer(role, model, path) for path in paths]
        self.specs = self._specs(model)

    def taken(self) -> Any:
        """A context, in which the model runs once; see `taps.taken`."""
        return taps.taken(self.found)

    def features(self, calls: Sequence[list]) -> list[Tensor]:
        """The one tensor that each layer has returned in a pass."""
        return [
            _one(self._role, path, given)
            for path, given in zip(self._paths, calls, strict=True)
        ]

    def _specs(self, model: keras.Model) -> list[Tensor]:
        if not self.found:
            return []
        try:
            calls, batch = taps.specs_of(model, self.found) or (None, None)
        except Exception as error:
            raise ValueError(
                f"A layer of `{self._role}` cannot be taken as a feature. "
                f"Received: {list(self._paths)} of {model.name!r}, a pass of "
                f"which failed while they were taken: {error} Of a layer in a "
                "loop, such as the cell of a recurrent layer, nothing can be "
                "kept: take the layer around it."
            ) from error
        if calls is None:
            raise ValueError(
                f"`{self._role}` must be built where features are distilled. "
                f"Received: {self._role}={model.name!r}, the shapes of whose "
                "inputs are not known. Call it once on a batch of data, or "
                "begin a Sequential model with keras.Input."
            )
        specs = self.features(calls)
        for path, spec in zip(self._paths, specs, strict=True):
            _require_examples(self._role, path, spec, batch)
        return specs

    def require_channels_last(self, number: int) -> None:
        """Refuses a map whose last axis is not that of channels."""
        layer, spec = self.found[number], self.specs[number]
        default = keras.config.image_data_format()
        order = getattr(layer, "data_format", None) or default
        turned = isinstance(layer, keras.layers.Permute)
        if len(spec.shape) > 3 and order == "channels_first" and not turned:
            raise ValueError(
                "Features that are maps are compared with channels last. "
                f"Received: {self._paths[number]!r} of the {self._role}, of "
                f"shape {tuple(spec.shape)} with channels first. Put "
                "keras.layers.Permute((2, 3, 1), name=...) and then "
                "Permute((3, 1, 2)) behind it, and name the first of them."
            )


def _layer(role: str, model: keras.Model, path: str) -> keras.layers.Layer:
    ways = [
        ("/".join(layer.name for layer in way), way)
        for way in ways_to_layers(model)
    ]
    found = [way for name, way in ways if name == path]
    found = found or [w for name, w in ways if name.endswith(f"/{path}")]
    if len(found) != 1:
        raise _not_found(role, path, [name for name, _ in ways], len(found))
    if any(map(taps.rematerialised, (model, *found[0]))):
        raise ValueError(
            f"A layer of `{role}` that is rematerialised is computed twice, "
            f"and cannot be taken as a feature. Received: {path!r}. Take a "
            "layer outside of keras.RematScope."
        )
    return found[0][-1]


def _not_found(role: str, path: str, known: list, count: int) -> ValueError:
    near = [] if count else difflib.get_close_matches(path, known, n=3)
    guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if known.count(path) > 1:
        guess = " Give their layers, or models around them, other names."
    shown = ", ".join(known[:_SHOWN])
    if len(known) > _SHOWN:
        shown += f" and {len(known) - _SHOWN} more"
    return ValueError(
        f"`{role}_layer` must be the path of one layer, or the end of one. "
        f"Received: {path!r}, which {count or 'no'} layers of the {role} have."
        f"{guess} Layers of the {role}: {shown}."
    )


def _one(role: str, path: str, calls: list) -> Tensor:
    if len(calls) != 1:
        raise ValueError(
            "A layer whose output is a feature must be called once in a pass. "
            f"Received: {path!r} of the {role}, called {len(calls)} times. Put "
            "keras.layers.Identity(name=...) where the feature is to be taken, "
            "and name that."
        )
    if keras.tree.is_nested(calls[0]):
        raise ValueError(
            "A layer whose output is a feature must return one tensor. "
            f"Received: {path!r} of the {role}, which returns a "
            f"{type(calls[0]).__name__}. Take a layer that gets one of them, "
            "such as keras.layers.Identity(name=...)."
        )
    return calls[0]


def _require_examples(role: str, path: str, spec: Tensor, batch: Any) -> None:
    """Refuses what has not an entry for each example of a batch."""
    if len(spec.shape) < 2 or spec.shape[0] != batch:
        raise ValueError(
            "A feature must have the shape (batch, ..., channels). Received: "
            f"{path!r} of the {role}, of shape {tuple(spec.shape)}. Take a "
            "layer that returns something for each example."
        )
