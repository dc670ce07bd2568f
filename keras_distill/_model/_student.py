"""What a student must not bring, and what is warned of."""

import warnings

import keras

from keras_distill._keras.layers import all_layers, is_augmentation

# What a Distiller trains and evaluates by, its own in their place. Not
# `predict_step`: `distiller.student.predict` calls it.
_STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics")


def leaves_the_steps_to_keras(student: keras.Model) -> None:
    """Refuses a student with steps of its own, which would not be called."""
    own = [name for name in _STEPS if _overrides(student, name)]
    if own:
        raise ValueError(
            "`student` must leave to Keras how it is trained: a Distiller "
            "trains in its place. Received: student="
            f"{student.name!r} of type {type(student).__name__}, whose own "
            f"{', '.join(own)} would not be called. Put what they do into a "
            "loss or metric passed to compile(), into add_loss in the "
            "student's `call` or layers, or into a distillation loss of your "
            "own, and pass a model without them; of a Distiller, its student."
        )


def _overrides(student: keras.Model, name: str) -> bool:
    method = getattr(student, name)
    return getattr(method, "__func__", method) is not getattr(keras.Model, name)


def warn_of_augmentation(student: keras.Model) -> None:
    """Warns of layers that show the student other inputs than the teacher."""
    layers = [
        layer.name for layer in all_layers(student) if is_augmentation(layer)
    ]
    if layers:
        warnings.warn(
            "The student augments its inputs, and the teacher's logits are of "
            f"the inputs as they are. Received: random layers {layers} in "
            f"student={student.name!r}. Augment the data, so that both see the "
            "same: dataset.map(lambda x, y: (augment(x, training=True), y)).",
            stacklevel=3,
        )
