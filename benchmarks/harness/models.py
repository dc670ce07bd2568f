"""Models and optimisers that several benchmarks use."""

import keras
import numpy as np

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(features: int, *units: int, classes: int = 10) -> keras.Model:
    """Layers of ReLU units, and logits."""
    hidden = [keras.layers.Dense(width, "relu") for width in units]
    return keras.Sequential(
        [keras.Input((features,)), *hidden, keras.layers.Dense(classes)]
    )


def adam(rate: float, steps: float) -> keras.Optimizer:
    """Adam whose learning rate falls to 0 along a cosine."""
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(rate, max(1, int(steps)))
    )


def copy_of(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    z = logits / temperature
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
