"""specialist_dataset: the mix, its labels, and what is read of the data."""

import importlib.util

import numpy as np
import pytest
import specialist_problem as problem

from keras_distill.specialists import specialist_dataset, train_specialists

BATCH = 32


def read(data, epochs=1):
    """Inputs, labels and weights of whole epochs."""
    batches = []
    for _ in range(epochs):
        batches += [data.dataset[i] for i in range(data.steps_per_epoch)]
        data.dataset.on_epoch_end()
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


def numbered(count=200, classes=5):
    """Examples whose input is their number."""
    return np.arange(count, dtype="float32")[:, None], np.arange(
        count
    ) % classes


def test_half_is_special_and_labels_are_places():
    data = specialist_dataset(numbered(), [3, 1], batch_size=BATCH)
    x, y = read(data)
    label = x[:, 0].astype(int) % 5
    expected = np.select([label == 3, label == 1], [0, 1], 2)
    np.testing.assert_array_equal(y, expected)
    assert np.mean(y < 2) == 0.5
    assert data.natural_share == 0.4
    np.testing.assert_allclose(data.correction, np.log(0.6 / 0.4))


@pytest.mark.parametrize("portion", [0.25, 0.75])
def test_other_mixes(portion):
    data = specialist_dataset(
        numbered(), [3, 1], special_share=portion, batch_size=BATCH
    )
    _, y = read(data)
    assert abs(np.mean(y < 2) - portion) < 1 / len(y)


def test_an_epoch_has_every_special_example():
    data = specialist_dataset(numbered(), [3, 1], batch_size=BATCH)
    x, y = read(data)
    assert len(set(x[y < 2, 0])) == 80
    assert len(y) == data.steps_per_epoch * BATCH


def test_epochs_draw_other_examples_of_the_rest():
    data = specialist_dataset(numbered(1000, 50), [3, 1], batch_size=BATCH)
    first, labels = read(data)
    second, _ = read(data)
    rest = set(first[labels == 2, 0])
    assert len(rest) == np.sum(labels == 2)  # None of them twice.
    assert rest != set(second[labels == 2, 0])
    x, _ = read(data, epochs=60)
    assert len(set(x[:, 0])) > 950


def test_order_depends_on_seed_and_epoch_alone():
    def rows(seed, epoch):
        data = specialist_dataset(numbered(), [3], seed=seed, batch_size=BATCH)
        data.dataset.epoch = epoch
        return read(data)[0][:, 0].tolist()

    assert rows(0, 1) == rows(0, 1)
    assert len({tuple(rows(*pair)) for pair in ((0, 0), (0, 1), (1, 0))}) == 3


def test_few_others_are_repeated():
    data = specialist_dataset(numbered(), [0, 1, 2, 3], batch_size=BATCH)
    _, y = read(data)
    assert np.mean(y < 4) == 0.5


def test_weights_and_structures_go_along():
    x, y = numbered()
    arrays = {"a": x, "b": 2 * x}, y, x[:, 0]
    data = specialist_dataset(arrays, [3], batch_size=BATCH)
    inputs, _, weight = data.dataset[0]
    np.testing.assert_array_equal(inputs["b"], 2 * inputs["a"])
    np.testing.assert_array_equal(weight, inputs["a"][:, 0])


def test_one_hot_labels():
    x, y = numbered()
    data = specialist_dataset((x, np.eye(5)[y]), [3, 1], batch_size=BATCH)
    plain = specialist_dataset((x, y), [3, 1], batch_size=BATCH)
    np.testing.assert_array_equal(data.dataset[0][1], plain.dataset[0][1])


def test_memory_mapped_arrays_are_read_by_rows(tmp_path):
    x, y = numbered()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = specialist_dataset((mapped, y), [3], batch_size=BATCH)
    plain = specialist_dataset((x, y), [3], batch_size=BATCH)
    np.testing.assert_array_equal(data.dataset[0][0], plain.dataset[0][0])


def test_the_mix_and_the_correction_give_bayes_posterior():
    """Counted over epochs, on a problem with a known posterior."""
    data = specialist_dataset(problem.examples(), problem.SPECIAL)
    x, y = read(data, epochs=60)
    counts = np.zeros((problem.SYMBOLS, 3))
    np.add.at(counts, (x.argmax(axis=1), y), 1)
    odds = np.log(counts) + [0, 0, data.correction]
    found = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, problem.collapsed(), atol=0.01)
    np.testing.assert_allclose(data.natural_share, problem.natural_share())


def test_soft_targets():
    generalist = problem.generalist()
    data = specialist_dataset(
        problem.examples(), problem.SPECIAL, soft_targets=generalist
    )
    x, y = data.dataset[0]
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    known = y[:, problem.SPECIAL].sum(axis=1) > 0
    assert set(np.unique(y[known])) == {0, 1}
    p = problem.posterior()[x[~known].argmax(axis=1)]
    p[:, problem.SPECIAL] = 0
    expected = p / p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(y[~known], expected, atol=1e-6)


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="0 examples of the classes"):
        specialist_dataset(numbered(), [7])
    with pytest.raises(ValueError, match="and 0 of others"):
        specialist_dataset(numbered(), [0, 1, 2, 3, 4])


def test_other_datasets_are_refused():
    with pytest.raises(TypeError, match="or a tf.data.Dataset"):
        specialist_dataset([1, 2], [0])
    x, y = numbered()
    with pytest.raises(ValueError, match="as many rows"):
        specialist_dataset((x, y[:-1]), [0])
    with pytest.raises(ValueError, match="class numbers or one-hot"):
        specialist_dataset((x, y + 0.5), [0])


needs_tf = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"),
    reason="tf.data needs TensorFlow",
)


def stream(data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data)


def taken(data, epochs=1):
    steps = epochs * data.steps_per_epoch
    parts = zip(*data.dataset.take(steps).as_numpy_iterator(), strict=True)
    return [np.concatenate(part) for part in parts]


@needs_tf
@pytest.mark.parametrize("kind", ["examples", "batches", "columns"])
def test_streams_are_mixed_alike(kind):
    x, y = numbered(2000)
    dataset = stream((x, y[:, None] if kind == "columns" else y))
    if kind != "examples":
        dataset = dataset.batch(64)
    data = specialist_dataset(dataset, [3, 1], batch_size=BATCH)
    assert data.natural_share == 0.4
    found, labels = taken(data, epochs=4)
    assert labels.shape == (4 * data.steps_per_epoch * BATCH,)
    label = found[:, 0].astype(int) % 5
    np.testing.assert_array_equal(
        labels, np.select([label == 3, label == 1], [0, 1], 2)
    )
    assert abs(np.mean(labels < 2) - 0.5) < 0.05
    assert len(set(found[labels < 2, 0])) == 800
    assert len(set(found[labels == 2, 0])) == 1200


@needs_tf
def test_streams_have_soft_targets_and_weights():
    x, y = problem.examples()
    dataset = stream((x, y, np.ones(len(y))))
    data = specialist_dataset(
        dataset, problem.SPECIAL, soft_targets=problem.generalist()
    )
    _, targets, weight = taken(data)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert targets.shape[1] == problem.CLASSES and np.all(weight == 1)


@needs_tf
def test_streams_of_other_labels_are_refused():
    x, y = numbered()
    one_hot = stream((x, np.eye(5)[y]))
    with pytest.raises(ValueError, match="tf.argmax"):
        specialist_dataset(one_hot, [1])
    with pytest.raises(ValueError, match="must have labels"):
        specialist_dataset(stream(x), [1])


@needs_tf
@pytest.mark.parametrize("size", [None, 50])
def test_specialists_are_trained_on_streams(tmp_path, size):
    dataset = stream(problem.examples())
    dataset = dataset.batch(size) if size else dataset
    for full in (False, True):
        [found] = train_specialists(
            problem.generalist(),
            dataset,
            [problem.SPECIAL],
            tmp_path,
            full_softmax=full,
            **problem.SHORT,
        )
        assert np.all(np.isfinite(problem.probabilities(found.model)))
