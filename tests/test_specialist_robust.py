"""Specialists where something is wrong: damaged files, changed data, layers."""

import json
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ThreadPoolExecutor,
)

import keras
import numpy as np
import pytest
from keras import layers

from keras_distill.specialists import (
    _jobs,
    _pools,
    _train,
    build_specialist,
    train_specialists,
)
from keras_distill.specialists._digests import digest_of_data

ONE = {"epochs": 1, "verbose": False}


def examples():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    return x, np.arange(60) % 10


def generalist(*hidden):
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(10)])


def reports(folder):
    return sorted(folder.glob("specialist-*.json"))


def conditional(logits):
    logits = keras.ops.convert_to_numpy(logits).astype("float64")
    return logits - logits.mean(axis=-1, keepdims=True)


def assert_same_given_special(model, x):
    """Given that the class is special, both distributions are equal."""
    specialist = build_specialist(model, [1, 2, 3], inputs=x)
    np.testing.assert_allclose(
        conditional(specialist(x)[:, :3]),
        conditional(model(x)[:, 1:4]),
        atol=1e-4,
    )


def lost(*args):
    raise OSError("lost")


def interrupted_before_the_end(model, folder, monkeypatch):
    """A folder with the checkpoint of the last epoch and no specialist."""
    with monkeypatch.context() as patch:
        patch.setattr(_jobs, "_corrected", lost)
        with pytest.raises(RuntimeError, match="lost"):
            train_specialists(
                model, examples(), [[1, 2]], folder, retries=0, **ONE
            )
    [checkpoint] = folder.glob("specialist-*-00001.keras")
    return checkpoint


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


# Layers.


def test_adapted_normalization_is_copied():
    """Its statistics are not among the weights that a layer uses."""
    x, _ = examples()
    normalization = layers.Normalization()
    normalization.adapt(7 * x + 3)
    assert_same_given_special(generalist(normalization), x)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow has tensors of strings",
)
def test_an_adapted_vocabulary_is_copied():
    import tensorflow as tf

    words = tf.constant([["a"], ["b"], ["c"], ["a"]])
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(words)
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, layers.Dense(10)(lookup(inputs)))
    assert_same_given_special(model, words)


def assert_head_is_refused(model, layer):
    text = f"whose logits come from '{layer.name}', an? {type(layer).__name__}"
    with pytest.raises(ValueError, match=text):
        build_specialist(model, [1, 2, 3])


def test_a_transposed_einsum_head_is_refused():
    head = layers.EinsumDense("ab,cb->ac", 10)
    inputs = [keras.Input((4,)), layers.Dense(10)]
    assert_head_is_refused(keras.Sequential([*inputs, head]), head)


class Cosine(layers.Dense):
    def call(self, inputs):
        kernel = keras.ops.normalize(self.kernel, axis=0)
        return 5 * keras.ops.matmul(keras.ops.normalize(inputs), kernel)


def test_a_head_that_only_inherits_from_dense_is_refused():
    head = Cosine(10)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), head])
    assert_head_is_refused(model, head)


def test_as_many_positions_as_classes():
    inputs = keras.Input((10, 4))
    outputs = layers.Reshape((10, 10))(layers.Dense(10)(inputs))
    specialist = build_specialist(keras.Model(inputs, outputs), [1, 2, 3])
    assert specialist.output_shape == (None, 10, 4)


# Other arguments make other specialists.


def test_inputs_after_the_first_ones_count(tmp_path):
    x, y = examples()
    other = x.copy()
    other[16:] += 1
    assert digest_of_data((x, y)) != digest_of_data((other, y))


def test_a_thawed_generalist_makes_another_specialist(tmp_path):
    model = generalist(layers.Dense(4))
    model.layers[0].trainable = False
    train_specialists(model, examples(), [[1]], tmp_path, **ONE)
    model.layers[0].trainable = True
    [thawed] = train_specialists(model, examples(), [[1]], tmp_path, **ONE)
    assert thawed.model.layers[1].trainable
    assert len(reports(tmp_path)) == 2


def test_an_optimizer_in_another_is_recognised():
    def config():
        inner = keras.optimizers.Adam()
        outer = keras.optimizers.LossScaleOptimizer(inner)
        return _train._optimizer(outer)

    assert config() == config()


def test_of_a_frozen_generalist_the_new_head_is_trained(tmp_path):
    model = generalist(layers.Dense(4))
    model.trainable = False
    [found] = train_specialists(model, examples(), [[1]], tmp_path, **ONE)
    before, after = model.get_weights(), found.model.get_weights()
    np.testing.assert_array_equal(after[0], before[0])
    assert np.all(after[2][:, 0] != before[2][:, 1])


def test_a_frozen_generalist_with_its_own_head_is_refused(tmp_path):
    model = generalist()
    model.trainable = False
    with pytest.raises(RuntimeError, match="Set trainable=True on layers"):
        train_specialists(
            model, examples(), [[1]], tmp_path, full_softmax=True, **ONE
        )


# Damaged files.


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_damaged_checkpoint_does_not_block(tmp_path, monkeypatch):
    model = generalist()
    cut(interrupted_before_the_end(model, tmp_path, monkeypatch))
    found = train_specialists(model, examples(), [[1, 2]], tmp_path, **ONE)
    assert found[0].classes == [1, 2]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_damaged_generalist_is_written_again(tmp_path):
    model = generalist()
    train_specialists(model, examples(), [[1]], tmp_path, **ONE)
    cut(next(tmp_path.glob("generalist-*.keras")))
    found = train_specialists(model, examples(), [[2]], tmp_path, **ONE)
    assert found[0].classes == [2]


def test_the_loss_stays_in_the_report(tmp_path, monkeypatch):
    model = generalist()
    interrupted_before_the_end(model, tmp_path, monkeypatch)
    before = json.loads(reports(tmp_path)[0].read_text())["loss"]
    train_specialists(model, examples(), [[1, 2]], tmp_path, **ONE)
    assert json.loads(reports(tmp_path)[0].read_text())["loss"] == before


# Wrong data are told at once, and not job by job.


@pytest.mark.parametrize(
    "data", [list(examples()), iter([examples()])], ids=["list", "iterator"]
)
def test_other_datasets_are_refused_at_once(tmp_path, data):
    with pytest.raises(TypeError, match="`dataset` must be"):
        train_specialists(generalist(), data, [[1]], tmp_path, **ONE)


def test_labels_that_are_no_class_are_refused(tmp_path):
    x, y = examples()
    with pytest.raises(ValueError, match="Labels must be class numbers from 0"):
        train_specialists(generalist(), (x, y + 1), [[1]], tmp_path, **ONE)


# Executors.


class Pool(Executor):
    """Dies, with all that it was given, if the job of class 0 is there."""

    def __init__(self):
        self._given = []

    def submit(self, *call):
        self._given.append((Future(), call))
        if len(self._given) == 1:
            threading.Timer(0.2, self._run).start()
        return self._given[-1][0]

    def _run(self):
        dies = any(call[1].classes == [0] for _, call in self._given)
        for future, (function, *arguments) in self._given:
            if dies:
                future.set_exception(BrokenExecutor("a process died"))
            else:
                future.set_result(function(*arguments))


def test_a_job_that_kills_its_pool_does_not_stop_the_others(tmp_path):
    with pytest.raises(RuntimeError, match="1 of 3 specialists"):
        train_specialists(
            generalist(),
            examples(),
            [[0], [1], [2]],
            tmp_path,
            executor=Pool,
            **ONE,
        )
    assert len(reports(tmp_path)) == 2


def test_an_interruption_stops_the_waiting_jobs(tmp_path, monkeypatch):
    started, go_on = [], threading.Event()

    def slow(job, dataset):
        started.append(job)
        go_on.wait(0.2)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_jobs, "train", slow)
    monkeypatch.setattr(_pools, "_outcome", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_specialists(
            generalist(),
            examples(),
            [[i] for i in range(8)],
            tmp_path,
            executor=lambda: ThreadPoolExecutor(1),
            **ONE,
        )
    assert len(started) < 4
