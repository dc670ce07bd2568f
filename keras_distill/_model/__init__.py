"""What a Distiller is besides its step: changed, logged, saved and guarded."""

from keras_distill._model._guarded import Guarded
from keras_distill._model._saving import Identity
from keras_distill._model._student import leaves_the_steps_to_keras

__all__ = [
    "Guarded",
    "Identity",
    "leaves_the_steps_to_keras",
]
