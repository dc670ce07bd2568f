"""The layers of a model, however deep, and what each has of its own."""

from typing import Any

import keras


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and all layers in it, also those that attributes hold.

    `model.layers` leaves out the layers inside of custom ones.
    """
    return list(model._flatten_layers())


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """The layers that a layer is made of; none for a plain operation."""
    return getattr(layer, "_layers", [])


def ways_to_layers(
    layer: keras.layers.Layer, way: tuple = ()
) -> list[tuple[keras.layers.Layer, ...]]:
    """The way to each layer in a layer, each layer once, the outer first.

    A way ends with the layer that it leads to.
    """
    found: dict[int, tuple] = {}
    for inner in sublayers(layer):
        if inner in way or isinstance(inner, keras.layers.InputLayer):
            continue
        here = (*way, inner)
        for each in (here, *ways_to_layers(inner, here)):
            found.setdefault(id(each[-1]), each)
    return list(found.values())


def track_last(
    layer: keras.layers.Layer, inner: list[keras.layers.Layer]
) -> None:
    """Puts layers in a layer behind the others, in their order.

    In the order of its layers a model has its variables.
    """
    others = [each for each in layer._layers if each not in inner]
    layer._layers[:] = others + inner


def own_variables(layer: keras.layers.Layer) -> list:
    """The variables of a layer without those of the layers in it."""
    return layer._trainable_variables + layer._non_trainable_variables


def is_augmentation(layer: keras.layers.Layer) -> bool:
    """Whether it prepares data, as in a `tf.data` pipeline, and at random.

    Such layers have one base class, which Keras does not name in public.
    """
    data_layer = keras.layers.Rescaling.__base__
    return isinstance(layer, data_layer) and bool(layer._seed_generators)
