"""Teachers, students and data that the tests of the Distiller share."""

import backend
import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

FEATURES, CLASSES, STEPS, WORDS = 4, 3, 5, 7
TEMPERATURE = 2.0
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(examples=16, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, examples).astype("int32")


def sequences(examples=8):
    """Word numbers, padded with 0, and a label for each word."""
    rng = np.random.default_rng(0)
    words = rng.integers(1, WORDS, (examples, STEPS)).astype("int32")
    lengths = rng.integers(1, STEPS + 1, examples)
    words[np.arange(STEPS) >= lengths[:, None]] = 0
    return words, rng.integers(0, CLASSES, words.shape).astype("int32")


def sequential(units=6, seed=1):
    keras.utils.set_random_seed(seed)
    stack = [layers.Dense(units, "relu"), layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((FEATURES,)), *stack])


def unbuilt(units=6, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [layers.Dense(units, "relu"), layers.Dense(CLASSES)]
    )


def functional(units=6, seed=1):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dense(units, "relu")(inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(hidden))


class Subclassed(keras.Model):
    def __init__(self, units=6, seed=1):
        keras.utils.set_random_seed(seed)
        super().__init__()
        self.hidden = layers.Dense(units, "relu")
        self.head = layers.Dense(CLASSES)

    def call(self, inputs):
        return self.head(self.hidden(inputs))


KINDS = [sequential, functional, Subclassed, unbuilt]


def linear(seed=1, **kwargs):
    """Logits that are `x @ kernel`."""
    keras.utils.set_random_seed(seed)
    head = layers.Dense(CLASSES, use_bias=False, **kwargs)
    return keras.Sequential([keras.Input((FEATURES,)), head])


def noisy(units=6, seed=1, rate=0.5):
    """A model with state of every kind: weights, moving averages, seeds."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dense(units, "relu", kernel_regularizer="l2")(inputs)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.Dropout(rate)(hidden)
    return keras.Model(inputs, layers.Dense(CLASSES)(hidden))


class MeanSquare(layers.Layer):
    """Passes its inputs on, and adds their mean square to the losses."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2))
        return inputs


def penalised(seed=1):
    """A linear model with a regulariser of its kernel and an `add_loss`."""
    keras.utils.set_random_seed(seed)
    head = layers.Dense(
        CLASSES,
        use_bias=False,
        kernel_regularizer=keras.regularizers.L2(0.1),
    )
    return keras.Sequential([keras.Input((FEATURES,)), head, MeanSquare()])


def tagger(mask_zero=False, seed=1):
    """Logits of shape (batch, time, classes) from word numbers."""
    keras.utils.set_random_seed(seed)
    embedding = layers.Embedding(
        WORDS,
        FEATURES,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
        mask_zero=mask_zero,
    )
    return keras.Sequential(
        [keras.Input((STEPS,)), embedding, layers.Dense(CLASSES)]
    )


def two_inputs(named, seed=1):
    """Takes a dict of inputs, or a tuple where they are not named."""
    keras.utils.set_random_seed(seed)
    a, b = (keras.Input((FEATURES,), name=name) for name in "ab")
    inputs = {"a": a, "b": b} if named else (a, b)
    logits = layers.Dense(CLASSES)(layers.Concatenate()([a, b]))
    return keras.Model(inputs, logits)


def two_outputs(seed=1):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, [layers.Dense(CLASSES)(inputs) for _ in "ab"])


class Batches(keras.utils.PyDataset):
    """Batches of 8 of arrays, any of which may be None."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return -(-len(self.arrays[0]) // 8)

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return tuple(None if a is None else a[rows] for a in self.arrays)


class Recorder(keras.Model):
    """Runs a model and notes with which `training` it was called."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = []
        self(np.zeros((1, FEATURES), "float32"))
        self.calls.clear()

    def call(self, inputs, training=False):
        self.calls.append(bool(training))
        return self.model(inputs, training=training)


def with_policy(policy, build, **kwargs):
    """Builds a model as a user would who sets a global dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return build(**kwargs)
    finally:
        keras.config.set_dtype_policy(before)


def distiller(
    teacher,
    student,
    hard=0.3,
    soft=0.7,
    loss=CROSSENTROPY,
    learning_rate=0.1,
    run_eagerly=True,
    **compile_args,
):
    """A compiled Distiller: soft targets, SGD, eager unless said otherwise."""
    model = kd.Distiller(
        teacher,
        student,
        kd.losses.SoftTargets(TEMPERATURE),
        hard_loss_weight=hard,
        soft_loss_weight=soft,
    )
    optimizer = keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, loss=loss, run_eagerly=run_eagerly, **compile_args)
    return model


def fit(model, x, y=None, batch_size=8, **kwargs):
    """Fits in the order of the data, and returns the logs of each epoch."""
    keras.utils.set_random_seed(3)
    size = batch_size if isinstance(x, np.ndarray) else None
    history = model.fit(
        x, y, batch_size=size, shuffle=False, verbose=0, **kwargs
    ).history
    return {k: [float(v) for v in values] for k, values in history.items()}


def step(model, x, y=None, **kwargs):
    """Trains on one batch and returns its logs."""
    logs = model.train_on_batch(x, y, return_dict=True, **kwargs)
    return {name: float(value) for name, value in logs.items()}


def evaluate(model, x, y=None, **kwargs):
    logs = model.evaluate(x, y, verbose=0, return_dict=True, **kwargs)
    return {name: float(value) for name, value in logs.items()}


def logits(model, x):
    """The outputs of a model in inference mode, as NumPy arrays."""
    outputs = model(x, training=False)
    return keras.tree.map_structure(lambda t: backend.to_numpy(t), outputs)


def snapshot(model):
    """Copies of all variables: weights, moving averages, seed generators."""
    values = [variable.value for variable in model.variables]
    return [np.array(backend.to_numpy(value)) for value in values]


def assert_same(actual, expected, atol=0.0):
    """Two snapshots hold the same arrays, bit by bit unless said otherwise."""
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=atol)


def near(expected):
    """Equal, but for how a processor rounds the float32 sums of a step."""
    return pytest.approx(expected, rel=1e-5)


def changed(before, after):
    """Whether any array of two snapshots differs."""
    pairs = zip(before, after, strict=True)
    return any(not np.array_equal(b, a) for b, a in pairs)
