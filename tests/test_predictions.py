"""What `kd.bias` reads from models and data: any kind, and nothing wrong."""

import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
CLASSES = models.CLASSES
ROWS = 20


def arrays(seed=0):
    x, y = models.data(ROWS, seed)
    return x, y, np.arange(ROWS) % 3


def batches(*data):
    for start in range(0, ROWS, 8):
        yield tuple(a[start : start + 8] for a in data)


def tf_data(*data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data).batch(8)


def torch_loader(*data):
    import torch

    dataset = torch.utils.data.TensorDataset(*map(torch.as_tensor, data))
    return torch.utils.data.DataLoader(dataset, batch_size=8)


def tensors(*data):
    return tuple(ops.convert_to_tensor(a) for a in data)


KINDS = {
    "generator": batches,
    "PyDataset": models.Batches,
    "arrays": lambda *data: data,
    "tensors": tensors,
}
KINDS |= {
    "tensorflow": {"tf.data": tf_data},
    "torch": {"DataLoader": torch_loader},
    "jax": {},
}[keras.backend.backend()]


def one_hot(x, y, weight):
    return x, np.eye(CLASSES, dtype="float32")[y], weight


def column(x, y, weight):
    return x, y[:, None], weight


def fit(model, data, **kwargs):
    return kd.bias.fit_bias(model, data, objective="likelihood", **kwargs)


def test_all_kinds_of_data_give_the_same_shifts():
    model, data = models.linear(), arrays()
    expected = fit(model, data, batch_size=ROWS)
    for name, kind in KINDS.items():
        labels = one_hot if name == "PyDataset" else column
        actual = fit(model, kind(*labels(*data)), batch_size=8)
        np.testing.assert_allclose(actual, expected, atol=1e-5, err_msg=name)


def test_weights_count():
    model, (x, y, weight) = models.linear(), arrays()
    kept = weight > 0
    again = (weight > 1)[kept]
    x, y, weight = x[kept], y[kept], weight[kept]
    twice = np.concatenate([x, x[again]]), np.concatenate([y, y[again]])
    actual = fit(model, (x, y, weight))
    np.testing.assert_allclose(actual, fit(model, twice), atol=1e-5)
    assert np.abs(actual - fit(model, (x, y))).max() > 0.01


@pytest.mark.parametrize("named", [False, True])
def test_structures_of_inputs(named):
    model, (a, y, weight) = models.two_inputs(named), arrays()
    b = arrays(1)[0]
    x = {"a": a, "b": b} if named else (a, b)
    found = fit(model, (x, y, weight), batch_size=8)
    logits = models.logits(model, x)
    np.testing.assert_allclose(found, of_rows(logits, y, weight), atol=1e-5)
    inputs = x if named else (x,)
    matched = kd.bias.match_class_frequencies(
        model, inputs, np.bincount(y), batch_size=8
    )
    np.testing.assert_allclose(matched, of_rows(logits, y), atol=1e-5)


def of_rows(logits, *rest):
    """The shifts for logits that are rows already."""
    rows = [keras.Input((CLASSES,)), layers.Identity()]
    return fit(keras.Sequential(rows), (logits, *rest))


def test_every_step_of_a_sequence_is_an_example():
    model, (words, y) = models.tagger(), models.sequences()
    logits = models.logits(model, words).reshape(-1, CLASSES)
    each = (words != 0).astype("float32")
    one = np.arange(len(words)) + 1.0
    expected = [
        of_rows(logits, y.ravel(), weight)
        for weight in (each.ravel(), np.repeat(one, models.STEPS))
    ]
    pairs = (y, each), (np.eye(CLASSES)[y], one)
    for (labels, weight), shifts in zip(pairs, expected, strict=True):
        found = fit(model, (words, labels, weight), batch_size=4)
        np.testing.assert_allclose(found, shifts, atol=1e-5)


def test_nothing_changes_in_the_model():
    model, (x, y, weight) = models.noisy(), arrays()
    model.layers[1].trainable = False
    model.compile("sgd", models.CROSSENTROPY, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    before = models.snapshot(model), models.snapshot(model.optimizer)
    flags = [layer.trainable for layer in model._flatten_layers()]
    first = kd.bias.fit_bias(model, (x, y, weight))
    kd.bias.match_class_frequencies(model, x, [1, 2, 3])
    models.assert_same(models.snapshot(model), before[0])
    models.assert_same(models.snapshot(model.optimizer), before[1])
    assert flags == [layer.trainable for layer in model._flatten_layers()]
    # In inference mode there is no dropout.
    assert first.tolist() == kd.bias.fit_bias(model, (x, y, weight)).tolist()


def test_a_model_that_is_not_built_is_built_by_the_first_batch():
    model, (x, y, _) = models.Subclassed(), arrays()
    found = fit(model, (x, y), batch_size=8)
    logits = models.logits(model, x)
    np.testing.assert_allclose(found, of_rows(logits, y), atol=1e-5)


def test_generators_are_drawn_once():
    drawn = []

    def counted():
        for batch in batches(*arrays()):
            drawn.append(len(batch[0]))
            yield batch

    data = counted()
    fit(models.functional(), data)
    assert drawn == [8, 8, 4]
    with pytest.raises(ValueError, match="must hold at least one batch.*once"):
        fit(models.functional(), data)


class Probabilities(models.Subclassed):
    def call(self, inputs):
        return ops.softmax(super().call(inputs))


def not_finite(value):
    model = models.functional()
    model.layers[-1].bias.assign([0.0, value, 0.0])
    return model


@pytest.mark.parametrize(
    "make, text",
    [
        (Probabilities, r"outputs probabilities.*Pass kd.as_logits\(model\)"),
        (lambda: not_finite(np.nan), "not finite. Received: 20 of 60 values"),
        (lambda: not_finite(np.inf), "not finite. Received: 20 of 60 values"),
    ],
    ids=["probabilities", "NaN", "infinity"],
)
def test_bad_outputs(make, text):
    model, (x, y, _) = make(), arrays()
    with pytest.raises(ValueError, match=text):
        fit(model, (x, y))
    with pytest.raises(ValueError, match=text):
        kd.bias.match_class_frequencies(model, x, [1, 2, 3])


X, Y, _ = arrays()
COUNT, RANGE = "one label per example", "class numbers from 0 to 2. Received"
WEIGHTS = "Sample weights must be finite"
BAD_DATA = {
    "no labels": (X, "must have labels. Received: inputs alone"),
    "None for labels": ((X, None), "must have labels. Received: inputs alone"),
    "few labels": (
        (X, Y[:-1]),
        r"as many rows.* Received: arrays of \[20, 19\]",
    ),
    "many labels": ((X[:16], Y), "as many rows"),
    "other batches": ([(X[:8], Y[:9]), (X[:8], Y[:7])], COUNT),
    "too high": ((X, Y + 1), f"{RANGE}: labels from 1 to 3"),
    "negative": ((X, Y - 1), f"{RANGE}: labels from -1 to 1"),
    "negative weight": ((X, Y, Y - 1.0), WEIGHTS),
    "NaN weight": ((X, Y, Y * np.nan), WEIGHTS),
    "infinite weight": ((X, Y, np.full(ROWS, np.inf)), WEIGHTS),
    "weights of 0": ((X, Y, Y * 0.0), "must be above 0. Received: 20 weights"),
    "few weights": ((X, Y, np.ones(ROWS - 1)), "weight.*per example"),
    "empty": ((X[:0], Y[:0]), "must hold at least one batch"),
    "no batch": ([], "must hold at least one batch"),
    "generator": ((batch for batch in ()), "must hold at least one batch"),
    "no example": ([(X[:0], Y[:0])], "must hold at least one batch"),
    "names": (
        (X, np.array(["a"] * ROWS)),
        r"one-hot.*dtype <U1 for 8 examples. Pass",
    ),
    "halves": ((X, Y + 0.5), "one-hot.*float64 for 8 examples. Pass"),
    "None": (None, "must hold at least one batch"),
}


@pytest.mark.parametrize("data, text", BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data(data, text):
    if isinstance(data, list) and data:
        data = iter(data)
    with pytest.raises(ValueError, match=text):
        kd.bias.fit_bias(models.functional(), data, [0], batch_size=8)


def test_weights_may_be_a_column():
    x, y, weight = arrays()
    model = models.functional()
    found = fit(model, (x, y, weight[:, None]))
    np.testing.assert_allclose(found, fit(model, (x, y, weight)), atol=1e-9)


def test_a_model_with_one_output_in_a_structure():
    inputs = keras.Input((models.FEATURES,))
    model = keras.Model(inputs, {"logits": layers.Dense(CLASSES)(inputs)})
    x, y, _ = arrays()
    logits = models.logits(model, x)["logits"]
    np.testing.assert_allclose(fit(model, (x, y)), of_rows(logits, y), 1e-5)
    shifted = kd.bias.shift_bias(model, [0], 1.0)
    np.testing.assert_allclose(
        models.logits(shifted, x)["logits"], logits + np.float32([1, 0, 0])
    )


def test_logits_that_sum_to_1_are_no_probabilities():
    logits = np.float32([[2, -1, 0], [0, 2, -1], [-1, 0, 2]])
    assert np.isfinite(of_rows(logits, np.array([0, 2, 1]))).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_models_of_half_precision(dtype):
    x, y, _ = arrays()
    dense = keras.layers.Dense(CLASSES, dtype=dtype)
    model = keras.Sequential([keras.Input(x.shape[1:]), dense])
    assert np.all(np.isfinite(fit(model, (x, y))))
