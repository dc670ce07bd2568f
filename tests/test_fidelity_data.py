"""Fidelity: any kind of data, read once, and two models left as they were."""

import backend
import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
ROWS, BATCH, CLASSES = 20, 8, 6


def model():
    scale = keras.initializers.RandomNormal(stddev=1.0)
    dense = layers.Dense(CLASSES, kernel_initializer=scale)
    return keras.Sequential([keras.Input((4,)), dense])


def noisy():
    """A model that shows at once if it runs in training mode."""
    hidden = [layers.Dense(3), layers.BatchNormalization()]
    dropout = layers.Dropout(0.9, seed=1)
    top = layers.Dense(CLASSES)
    return keras.Sequential([keras.Input((4,)), *hidden, dropout, top])


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    return x, rng.integers(0, CLASSES, ROWS), rng.integers(0, 3, ROWS)


def batches():
    for start in range(0, ROWS, BATCH):
        yield tuple(a[start : start + BATCH] for a in arrays())


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return list(batches())[index]


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)


def torch_loader():
    import torch

    tensors = [torch.as_tensor(a) for a in arrays()]
    dataset = torch.utils.data.TensorDataset(*tensors)
    return torch.utils.data.DataLoader(dataset, batch_size=BATCH)


# The last of three batches is half as large as the others.
KINDS = {"arrays": arrays, "generator": batches, "PyDataset": Batches}
KINDS |= {
    "tensorflow": {"tf.data": tf_data},
    "torch": {"DataLoader": torch_loader},
    "jax": {},
}[keras.backend.backend()]


def test_all_kinds_of_data_give_the_same_numbers():
    teacher, student = model(), model()
    whole = kd.evaluate_fidelity(
        teacher, student, arrays(), batch_size=ROWS, verbose=0
    )
    for name, make in KINDS.items():
        size = BATCH if name == "arrays" else None
        actual = kd.evaluate_fidelity(
            teacher, student, make(), batch_size=size, verbose=0
        )
        assert list(actual) == list(whole)
        for key, value in whole.items():
            assert abs(actual[key] - value) < 1e-5, (name, key)


def test_each_batch_is_drawn_once():
    drawn = []

    def counted():
        for batch in batches():
            drawn.append(len(batch[0]))
            yield batch

    kd.evaluate_fidelity(model(), model(), counted(), verbose=0)
    assert drawn == [8, 8, 4]


def test_progress_is_shown_if_asked_for(capsys):
    teacher, student = model(), model()
    kd.evaluate_fidelity(teacher, student, arrays(), batch_size=10, verbose=1)
    shown = capsys.readouterr().out
    assert "2/2" in shown
    assert "kl_divergence" in shown and "student_ece" in shown
    assert "loss" not in shown
    kd.evaluate_fidelity(teacher, student, arrays(), verbose=0)
    assert capsys.readouterr().out == ""


class NoBatches(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError(index)


OURS = "`dataset` must hold at least one batch"
EMPTY = {
    "arrays": (lambda: (np.zeros((0, 4)), np.zeros(0)), OURS),
    "unlabelled": (lambda: (np.zeros((0, 4)),), OURS),
    "array": (lambda: np.zeros((0, 4)), OURS),
    "generator": (lambda: (batch for batch in ()), "an empty generator"),
    "PyDataset": (NoBatches, OURS),
    "tf.data": (lambda: tf_data().take(0), OURS),
}


def only_there(name):
    return pytest.mark.skipif(
        name == "tf.data" and keras.backend.backend() != "tensorflow",
        reason="data of TensorFlow",
    )


@pytest.mark.parametrize(
    "dataset, text",
    [
        pytest.param(*case, id=n, marks=only_there(n))
        for n, case in EMPTY.items()
    ],
)
@pytest.mark.once
def test_empty_data_is_refused(dataset, text):
    with pytest.raises(ValueError, match=text):
        kd.evaluate_fidelity(model(), model(), dataset(), verbose=0)


def test_a_generator_that_was_read_is_refused():
    data, teacher, student = batches(), model(), model()
    kd.evaluate_fidelity(teacher, student, data, verbose=0)
    with pytest.raises(ValueError, match="at least one batch"):
        kd.evaluate_fidelity(teacher, student, data, verbose=0)


# Nothing changes.


def state(some_model):
    values = [backend.to_numpy(v.value) for v in some_model.variables]
    return [np.array(value) for value in values]


def flags(some_model):
    compiled = [some_model.compiled, some_model.trainable]
    return compiled + [layer.trainable for layer in some_model.layers]


def assert_unchanged(models, before):
    for some_model, (values, old_flags) in zip(models, before, strict=True):
        assert flags(some_model) == old_flags
        for old, new in zip(values, state(some_model), strict=True):
            np.testing.assert_array_equal(old, new)


def failing():
    yield from list(batches())[:2]
    raise OSError("the disk is gone")


def test_nothing_changes_in_either_model():
    models = teacher, student = noisy(), noisy()
    student.layers[0].trainable = False
    before = [(state(m), flags(m)) for m in models]
    actual = kd.evaluate_fidelity(teacher, student, arrays(), verbose=0)
    assert actual == kd.evaluate_fidelity(teacher, student, arrays(), verbose=0)
    assert_unchanged(models, before)


# TensorFlow turns what a generator raises into errors of its own.


def test_nothing_changes_when_the_data_fails():
    models = teacher, student = noisy(), noisy()
    before = [(state(m), flags(m)) for m in models]
    with pytest.raises(Exception, match="the disk is gone"):
        kd.evaluate_fidelity(teacher, student, failing(), verbose=0)
    assert_unchanged(models, before)


def test_a_compiled_student_keeps_its_optimizer_and_metrics():
    student = noisy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    x, y, _ = arrays()
    student.fit(x, y, verbose=0)
    before = [(state(student), flags(student))]
    optimizer = state(student.optimizer)
    metrics = student.get_metrics_result()
    kd.evaluate_fidelity(model(), student, (x, y), verbose=0)
    assert_unchanged([student], before)
    for old, new in zip(optimizer, state(student.optimizer), strict=True):
        np.testing.assert_array_equal(old, new)
    assert student.get_metrics_result() == metrics
    student.fit(x, y, verbose=0)
