"""Models with named layers, and Distillers of their features."""

import keras
import models
import numpy as np
from keras import layers

import keras_distill as kd

X, Y = models.data(8)
RATE = 0.1


def close(found, expected, rtol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-7)


def net(units=6, seed=1, *more):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(units, "relu", name="hidden")
    head = layers.Dense(models.CLASSES, name="head")
    inputs = keras.Input((models.FEATURES,))
    return keras.Sequential([inputs, hidden, *more, head])


class Subclassed(keras.Model):
    def __init__(self, units=6, seed=1):
        keras.utils.set_random_seed(seed)
        super().__init__()
        self.block = keras.Sequential(
            [layers.Dense(units, "relu", name="hidden")], name="block"
        )
        self.head = layers.Dense(models.CLASSES, name="head")

    def call(self, x, training=None):
        return self.head(self.block(x, training=training))


def heads():
    """Teacher and student of the outputs "a" and "b"."""

    def made(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((models.FEATURES,))
        hidden = layers.Dense(6, name="hidden")(inputs)
        outputs = {n: layers.Dense(models.CLASSES, name=n) for n in "ab"}
        return keras.Model(inputs, {n: o(hidden) for n, o in outputs.items()})

    return {"teacher": made(2), "student": made(1)}


def hint(**kwargs):
    return kd.losses.Feature("hidden", "hidden", **kwargs)


def distiller(*features, teacher=None, student=None, **kwargs):
    """With SGD, all weights 1 but for those of the features."""
    options = {"optimizer": keras.optimizers.SGD(RATE), **kwargs}
    model = kd.Distiller(
        teacher or net(5, seed=2),
        student or net(),
        kd.losses.SoftTargets(2.0),
        hard_loss_weight=options.pop("hard", 1.0),
        soft_loss_weight=options.pop("soft", 1.0),
        feature_losses=features,
    )
    options.setdefault("loss", models.CROSSENTROPY)
    model.compile(**options)
    return model


def still(*features, **kwargs):
    """One that stays as it is, so that its logs tell its numbers."""
    return distiller(*features, optimizer=keras.optimizers.SGD(0.0), **kwargs)


def given(model, *path, x=X):
    """What a layer gives in inference mode, by a model of Keras's own."""
    inner = model
    for name in path:
        inner = inner.get_layer(name)
    inputs = model.inputs[0] if path else model.input
    return models.logits(keras.Model(inputs, inner.output), x)


def mean_square(teacher, student, projector=None, x=X):
    """Of the layers `hidden`, for each example."""
    f, g = given(teacher, "hidden", x=x), given(student, "hidden", x=x)
    if projector is not None:
        g = models.logits(projector, g)
    return ((f - g) ** 2).mean(axis=-1)


class Counting(layers.Layer):
    """Counts how often it is called as Python, in training and not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = []

    def call(self, x, training=None):
        self.calls.append(bool(training))
        return x


def arrays(model):
    return [np.array(w) for w in model.get_weights()]
