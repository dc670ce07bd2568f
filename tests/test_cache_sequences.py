"""Sequences in a cache: padded to one length, and the padding left out."""

import keras
import models
import numpy as np
import pytest
from caching import needs_tf

import keras_distill as kd
from keras_distill._attached import TopKLogits

EXAMPLES, BATCH, CLASSES = 20, 8, models.CLASSES
WORDS, LABELS = models.sequences(EXAMPLES)
PADDING = WORDS == 0
IGNORING = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1)
ONE_LENGTH = "Pad all inputs of the dataset to one length, and leave the"
# Whether the student makes a mask, the weights, and labels at the padding.
WAYS = {
    "mask": (True, None, LABELS),
    "weights": (False, (~PADDING).astype("float32"), LABELS),
    "both": (True, np.where(PADDING, 0.0, 0.5).astype("float32"), LABELS),
    "mask, labels that are none": (True, None, np.where(PADDING, -1, LABELS)),
    "labels that are none": (False, None, np.where(PADDING, -1, LABELS)),
}
each_way = pytest.mark.parametrize("name", WAYS)
leaving_it_out = pytest.mark.parametrize("name", list(WAYS)[:-1])


def teacher():
    return models.tagger(seed=2)


def trained(name, teacher, attach, labels=None):
    """What a fit logs, and the student's weights after it."""
    mask_zero, weights, given = WAYS[name]
    model = kd.Distiller(
        teacher,
        models.tagger(mask_zero),
        kd.losses.SoftTargets(models.TEMPERATURE),
        hard_loss_weight=0.3,
        soft_loss_weight=0.7,
    )
    model.compile(keras.optimizers.SGD(0.1), IGNORING)
    data = WORDS, given if labels is None else labels, weights
    options = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    if attach is None:
        x, y, weights = data
        logs = model.fit(x, y, sample_weight=weights, **options).history
    else:
        logs = model.fit(attach(data), **options).history
    return logs, models.snapshot(model.student)


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name, values in expected[0].items():
        assert found[0][name] == pytest.approx(values, rel=1e-5), name
    models.assert_same(found[1], expected[1], atol=1e-6)


def cache_of(folder, top_k):
    options = {"dtype": "float32", "top_k": top_k, "verbose": 0}
    data = WORDS, LABELS
    return kd.TeacherCache.build(teacher(), data, folder, **options)


def spoilt(data):
    """Other teacher's logits where there is padding."""
    pair, *others = data
    logits = pair.teacher_logits
    values = getattr(logits, "logits", logits)
    values = np.where(PADDING[..., None], 9 * values[::-1], values)
    if isinstance(logits, TopKLogits):
        values = logits._replace(logits=values)
    return (pair._replace(teacher_logits=values), *others)


@each_way
@pytest.mark.parametrize(
    "top_k", [None, pytest.param(CLASSES, marks=pytest.mark.once)]
)
def test_training_from_a_cache_is_that_with_the_teacher(name, top_k, tmp_path):
    cache = cache_of(tmp_path, top_k)
    found = trained(name, None, cache.attach)
    assert_same(found, trained(name, teacher(), None))


@leaving_it_out
@pytest.mark.parametrize(
    "top_k", [2, pytest.param(None, marks=pytest.mark.once)]
)
def test_padding_does_not_matter(name, top_k, tmp_path):
    cache = cache_of(tmp_path, top_k)
    labels = np.where(PADDING, 0, WAYS[name][2])
    found = trained(name, None, lambda d: spoilt(cache.attach(d)), labels)
    assert_same(found, trained(name, None, cache.attach))


def test_labels_that_are_none_leave_the_teacher_in(tmp_path):
    name, cache = "labels that are none", cache_of(tmp_path, None)
    found = trained(name, None, lambda data: spoilt(cache.attach(data)))
    expected = trained(name, None, cache.attach)
    assert found[0]["soft_loss"] != pytest.approx(expected[0]["soft_loss"])


# Of different lengths.

SEQUENCES = [np.arange(1, n, dtype="int32") for n in (3, 5, 4, 7)]


class ByLength(keras.utils.PyDataset):
    """Batches that are padded each for itself."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        pair = SEQUENCES[2 * index : 2 * index + 2]
        length = max(map(len, pair))
        return (np.stack([np.pad(s, (0, length - len(s))) for s in pair]),)


def any_length():
    return keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Embedding(8, 4),
            keras.layers.Dense(CLASSES),
        ]
    )


def refused(dataset, folder, teacher, **options):
    with pytest.raises(ValueError) as raised:
        kd.TeacherCache.build(teacher, dataset, folder, verbose=0, **options)
    assert ONE_LENGTH in str(raised.value)
    assert "kd.TeacherCache" in str(raised.value)
    return str(raised.value)


def test_batches_of_different_lengths_are_refused(tmp_path):
    message = refused(ByLength(), tmp_path, any_length())
    assert "Received: (6, 3) after (4, 3)" in message


def test_arrays_of_sequences_are_refused(tmp_path):
    ragged = np.array(SEQUENCES, dtype=object)
    message = refused(ragged, tmp_path / "new", any_length())
    assert "Received: ragged inputs, of ndarray" in message
    assert not (tmp_path / "new").exists()


def test_a_function_that_gives_rows_of_different_lengths_is_refused(tmp_path):
    def rows(x):
        return [np.zeros((i + 1, CLASSES)) for i in range(len(x))]

    refused(np.zeros((2, 1)), tmp_path, rows, fingerprint="rows@1")


@needs_tf
@pytest.mark.parametrize("batched", [True, False])
def test_ragged_tensors_are_refused(batched, tmp_path):
    import tensorflow as tf

    ragged = tf.ragged.constant([s.tolist() for s in SEQUENCES], dtype="int32")
    if batched:
        ragged = tf.data.Dataset.from_tensor_slices(ragged).batch(2)
    message = refused(ragged, tmp_path, any_length())
    assert "Received: ragged inputs, of " in message
