"""Models that run other models on their own inputs."""

from typing import Any

import keras

from keras_distill._keras.inputs import structure


class Wrapping(keras.Model):
    """A model that is exported with the input signature of what it runs.

    It is built as soon as its members are, without being called, so that Keras
    has recorded no signature for it.

    Abstract: a subclass says what it runs.
    """

    def wrapped(self) -> list[keras.Model]:
        """The models that get the inputs."""
        raise NotImplementedError

    def export(
        self,
        filepath: Any,
        *args: Any,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.export`."""
        if input_signature is None:
            input_signature = _signature(self.wrapped()[0])
        super().export(
            filepath, *args, input_signature=input_signature, **kwargs
        )


def _signature(model: Any) -> list:
    """Shapes and dtypes of the one argument of a call."""
    found = known_inputs(model)
    if found is None:
        raise ValueError(
            "A model is exported with the shapes of its inputs. Received: a "
            f"model that runs {model.name!r}, of which they are not known. "
            "Call that model once on a batch, or pass input_signature="
            "[keras.InputSpec(shape=(None, ...), dtype=...)] to export."
        )
    return [found]


def known_inputs(model: Any) -> Any:
    """Shapes and dtypes of a model's inputs, whatever their structure.

    As those of a subclassed model Keras knows the shapes of its first call.
    None if there was none.
    """
    if isinstance(model, Wrapping):
        return known_inputs(model.wrapped()[0])
    inputs = structure(model)
    if inputs is not None:
        return inputs
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _specs(shape, model.input_dtype)


def _specs(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {name: _specs(part, dtype) for name, part in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.InputSpec(shape=(None, *shape[1:]), dtype=dtype)
    return type(shape)(_specs(part, dtype) for part in shape)
