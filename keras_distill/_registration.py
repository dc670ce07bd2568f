"""The one decorator that makes a class of this package loadable by Keras."""

import keras

register = keras.saving.register_keras_serializable(package="keras_distill")
