"""What a Distiller is besides its step: changed, logged and saved."""

from keras_distill._model._changes import Changeable
from keras_distill._model._logs import Logged
from keras_distill._model._saving import Identity
from keras_distill._model._student import (
    leaves_the_steps_to_keras,
    warn_of_augmentation,
)

__all__ = [
    "Changeable",
    "Identity",
    "Logged",
    "leaves_the_steps_to_keras",
    "warn_of_augmentation",
]
