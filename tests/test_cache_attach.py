"""Logits joined to the examples they belong to, or a clear refusal."""

import functools
import pickle

import caching
import keras
import models
import numpy as np
import pytest
from caching import ANOTHER_DATASET, EXAMPLES, NOT_THOSE

import keras_distill as kd

BACKEND = keras.backend.backend()
# Keras never knows the size of a grain dataset.
RAN_OUT = "ignore:Your input ran out of data"
X, Y = caching.data()
WEIGHTS = np.linspace(0.5, 2.0, EXAMPLES).astype("float32")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Logits of `models.sequential(seed=2)`, as float32."""
    folder = tmp_path_factory.mktemp("cache")
    return caching.build(folder, caching.teacher(seed=2))


@pytest.fixture(scope="module")
def top_2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("top_2")
    return caching.build(folder, caching.teacher(seed=2), top_k=2)


@pytest.fixture(scope="module")
def first_inputs(tmp_path_factory):
    """Logits of `caching.identity()`."""
    return caching.build(tmp_path_factory.mktemp("ids"), caching.identity())


# Every kind of dataset.


@pytest.mark.parametrize("kind", caching.KINDS)
def test_logits_are_joined_to_every_kind_of_dataset(kind, cache):
    attached = cache.attach(kind(X, Y))
    found = caching.attached_logits(attached)
    np.testing.assert_array_equal(found, cache.logits())
    if kind is not caching.arrays:
        for element in caching.elements(attached):
            assert type(element[0]) is kd.WithTeacherLogits
            assert len(element) == 2


@pytest.mark.parametrize("size", [1, 3, 7, 20, 32])
@pytest.mark.parametrize("kind", caching.OF_BATCHES)
def test_batches_of_any_size_get_their_logits(kind, size, cache):
    attached = cache.attach(kind(X, Y, size=size))
    found = caching.attached_logits(attached)
    np.testing.assert_array_equal(found, cache.logits())


@pytest.mark.parametrize("kind", [caching.arrays, *caching.OF_EXAMPLES])
def test_more_examples_than_are_looked_up_at_once(kind, tmp_path):
    x, y = models.data(600)
    cache = caching.build(tmp_path, dataset=(x, y), batch_size=250)
    found = caching.attached_logits(cache.attach(kind(x, y)))
    np.testing.assert_array_equal(found, cache.logits())


@pytest.mark.parametrize("kind", caching.KINDS)
@pytest.mark.parametrize("data", [(X,), (X, Y, WEIGHTS)], ids=["x", "xyw"])
def test_labels_and_weights_are_left_as_they_are(kind, data, cache):
    attached, plain = cache.attach(kind(*data)), kind(*data)
    if kind is caching.arrays:
        attached, plain = [attached], [plain]
    else:
        attached, plain = caching.elements(attached), caching.elements(plain)
    for element, expected in zip(attached, plain, strict=True):
        found = (element[0].inputs, *element[1:])
        keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("kind", caching.KINDS)
@pytest.mark.parametrize("named", [True, False], ids=["dict", "tuple"])
def test_structured_inputs(kind, named, tmp_path):
    x = {"a": X, "b": 2 * X} if named else (X, 2 * X)
    cache = caching.build(tmp_path, models.two_inputs(named), (x, Y))
    attached = cache.attach(kind(x, Y))
    found = caching.attached_logits(attached)
    np.testing.assert_array_equal(found, cache.logits())


@pytest.mark.parametrize("kind", caching.KINDS)
def test_top_k_logits_stay_small(kind, top_2):
    attached = top_2.attach(kind(X))
    if kind is not caching.arrays:
        attached = caching.elements(attached)[0]
    found = attached[0].teacher_logits
    assert found.logits.shape[-1] == found.indices.shape[-1] == 2
    [log_rest] = found.log_rest.values()
    assert log_rest.shape == found.logits.shape[:-1]


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow has tensors of strings"
)
@pytest.mark.parametrize("kind", caching.KINDS)
def test_strings_are_the_same_in_arrays_and_tensors(kind, tmp_path):
    words = [["a", "b"], ["b", "?"], ["", "ab"], ["ab", ""]] * 5
    inputs = keras.Input((2,), dtype="string")
    numbers = keras.layers.StringLookup(vocabulary=["a", "b"])(inputs)
    hidden = keras.layers.CategoryEncoding(3)(numbers)
    teacher = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    tensor = keras.ops.convert_to_tensor(words, "string")
    cache = caching.build(tmp_path, teacher, (tensor, Y))
    found = cache.attach(kind(np.array(words, object), Y))
    found = caching.attached_logits(found)
    np.testing.assert_array_equal(found, cache.logits())
    with pytest.raises(ValueError, match=NOT_THOSE):
        cache.attach(np.array(words[::-1], object))


# Training, in two batches of another size than those of the build.

TRAINED = {
    "arrays": caching.arrays,
    "py_dataset": lambda *data: caching.Batches(*data, size=10),
    "grain": lambda *data: caching.grain_batches(*data, size=10),
    "tf_data": lambda *data: caching.tf_batches(*data, size=10),
}


def student(**kwargs):
    return models.distiller(None, models.sequential(units=4), **kwargs)


def live(**kwargs):
    teacher = models.sequential(seed=2)
    return models.distiller(teacher, models.sequential(units=4), **kwargs)


def fit(model, x, y=None, **kwargs):
    """Two epochs, in the order of the data."""
    return models.fit(model, x, y, epochs=2, batch_size=10, **kwargs)


LIVE = {
    "plain": {},
    "weighted": {"sample_weight": WEIGHTS},
    "class_weight": {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "validation_split": {"validation_split": 0.4},
    "validation_data": {"validation_data": (X, Y)},
    "unlabelled": {},
}


@functools.cache
def live_training(name):
    """Logs and weights that a live teacher makes with options of `fit`."""
    labelled = name != "unlabelled"
    model = live() if labelled else live(loss=None)
    logs = fit(model, X, Y if labelled else None, **LIVE[name])
    return logs, models.snapshot(model.student)


def repeated(dataset):
    """Keras would complain of data that ends at a time it did not know."""
    lasting = isinstance(dataset, tuple | keras.utils.PyDataset)
    return dataset if lasting else dataset.repeat(2)


def fit_attached(model, attached, shuffle=False, **kwargs):
    """The same, from what `attach` returned and a pipeline repeats."""
    options = {"steps_per_epoch": 2, "verbose": 0, "shuffle": shuffle}
    if isinstance(attached, tuple | keras.utils.PyDataset):
        del options["steps_per_epoch"]
    if isinstance(attached, tuple):
        options["batch_size"] = 10
    keras.utils.set_random_seed(3)
    return model.fit(attached, epochs=2, **options, **kwargs).history


def assert_same_logs(logs, expected, rel=1e-5):
    assert logs.keys() == expected.keys()
    for name, values in expected.items():
        assert logs[name] == pytest.approx(values, rel=rel), name


@pytest.mark.parametrize("name", caching.names(TRAINED))
@pytest.mark.parametrize("eager", [True, False])
def test_training_is_that_of_a_live_teacher(name, eager, cache):
    attached = repeated(cache.attach(TRAINED[name](X, Y)))
    model = student(run_eagerly=eager)
    logs, weights = live_training("plain")
    rel = 1e-6 if eager else 1e-5
    assert_same_logs(fit_attached(model, attached), logs, rel)
    models.assert_same(models.snapshot(model.student), weights, atol=1e-6)


@pytest.mark.parametrize("kind", caching.OF_EXAMPLES)
def test_training_on_examples_batched_afterwards(kind, cache):
    attached = cache.attach(kind(X, Y)).batch(10)
    logs = fit_attached(student(), repeated(attached))
    assert_same_logs(logs, live_training("plain")[0], rel=1e-6)


def test_top_k_of_all_classes_trains_as_a_live_teacher(tmp_path):
    cache = caching.build(tmp_path, caching.teacher(seed=2), top_k=3)
    model, (logs, weights) = student(), live_training("plain")
    assert_same_logs(fit_attached(model, cache.attach((X, Y))), logs)
    models.assert_same(models.snapshot(model.student), weights, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_trains_nearly_as_a_live_teacher(dtype, tmp_path):
    cache = caching.build(tmp_path, caching.teacher(seed=2), dtype=dtype)
    logs = fit_attached(student(), cache.attach((X, Y)))
    assert_same_logs(logs, live_training("plain")[0], rel=0.01)


@pytest.mark.parametrize("name", ["validation_split", "class_weight"])
def test_options_of_fit_on_attached_arrays(name, cache):
    logs = fit_attached(student(), cache.attach((X, Y)), **LIVE[name])
    assert_same_logs(logs, live_training(name)[0])


# Keras takes no class weights beside grain datasets.
@pytest.mark.parametrize("name", caching.names(["py_dataset", "tf_data"]))
def test_class_weight_on_attached_batches(name, cache):
    attached = repeated(cache.attach(TRAINED[name](X, Y)))
    logs = fit_attached(student(), attached, **LIVE["class_weight"])
    assert_same_logs(logs, live_training("class_weight")[0])


@pytest.mark.parametrize("name", caching.names(TRAINED))
def test_sample_weight_is_attached_too(name, cache):
    attached = repeated(cache.attach(TRAINED[name](X, Y, WEIGHTS)))
    logs = fit_attached(student(), attached)
    assert_same_logs(logs, live_training("weighted")[0])


@pytest.mark.parametrize("name", caching.names(TRAINED))
def test_unlabelled_data(name, cache):
    attached = repeated(cache.attach(TRAINED[name](X)))
    logs = fit_attached(student(loss=None), attached)
    assert logs.keys() == {"loss", "soft_loss"}
    assert_same_logs(logs, live_training("unlabelled")[0])


@pytest.mark.filterwarnings(RAN_OUT)
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("name", caching.names(TRAINED))
def test_validation_data(name, attached, cache):
    data = TRAINED[name](X, Y)
    data = cache.attach(data) if attached else data
    logs = fit_attached(
        student(),
        cache.attach((X, Y)),
        validation_data=data,
        validation_batch_size=10,
    )
    assert_same_logs(logs, live_training("validation_data")[0])


@pytest.mark.filterwarnings(RAN_OUT)
@pytest.mark.parametrize("name", caching.names(TRAINED))
def test_evaluate_and_predict_use_the_student_alone(name, cache):
    model, attached = student(), cache.attach(TRAINED[name](X, Y))
    size = {"batch_size": 10} if name == "arrays" else {}
    logs = models.evaluate(model, attached, **size)
    expected = models.evaluate(model, X, Y, batch_size=10)
    assert logs == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(
        model.predict(attached, verbose=0, **size),
        model.predict(X, verbose=0, batch_size=10),
        atol=1e-6,
    )


def test_evaluate_and_predict_take_the_parts_of_arrays(cache):
    model, (x, y) = student(), cache.attach((X, Y))
    logs, expected = (
        models.evaluate(model, inputs, y, batch_size=10) for inputs in (x, X)
    )
    assert logs == pytest.approx(expected, rel=1e-6)
    found, expected = (
        model.predict(inputs, verbose=0, batch_size=10) for inputs in (x, X)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Shuffling, and what else a pipeline does after `attach`. The soft loss of a
# `matcher` is 0 if each example has its own logits, and no other.


def test_the_matcher_sees_logits_of_other_examples(first_inputs):
    x, _ = first_inputs.attach((X, Y))
    swapped = kd.WithTeacherLogits(x.inputs, x.teacher_logits[::-1].copy())
    logs = fit_attached(caching.matcher(), (swapped, Y))
    assert min(logs["soft_loss"]) > 0.1


PAIR = r"kd.WithTeacherLogits .* as in a map\(\) .* x._replace\(inputs=...\)"


def shuffled_tf(dataset):
    return dataset.shuffle(20, seed=1).batch(10).repeat(2).prefetch(2)


def augment(inputs):
    """Changes a student's inputs where the matcher does not look."""
    return inputs + np.array([0.0, 0.0, 0.0, 1.0], "float32")


def mapped_tf(dataset):
    # As the docstring of `attach` says.
    mapped = dataset.map(lambda x, y: (x._replace(inputs=augment(x.inputs)), y))
    return mapped.unbatch().shuffle(20).batch(10).repeat(2)


def mapped_grain(dataset):
    def replace(element):
        x, y = element
        return x._replace(inputs=augment(x.inputs)), y

    return dataset.map(replace).shuffle(seed=1).repeat(2).batch(10)


PIPELINES = {
    "arrays": (caching.arrays, lambda attached: attached),
    "batches": (TRAINED["py_dataset"], lambda attached: attached),
    "threads": (
        lambda *data: caching.Batches(
            *data, size=10, workers=3, max_queue_size=4
        ),
        lambda attached: attached,
    ),
    "grain": (
        caching.grain_examples,
        lambda attached: attached.shuffle(seed=1).repeat(2).batch(10),
    ),
    "grain mapped": (caching.grain_examples, mapped_grain),
    "grain slices": (
        TRAINED["grain"],
        lambda attached: attached[::-1].shuffle(seed=1).repeat(2),
    ),
    "grain iterator": (
        caching.grain_examples,
        lambda attached: (
            attached.shuffle(seed=1).repeat(2).to_iter_dataset().batch(10)
        ),
    ),
    "tf": (caching.tf_examples, shuffled_tf),
    "tf batches": (TRAINED["tf_data"], mapped_tf),
}


@pytest.mark.parametrize("name", caching.names(PIPELINES))
@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed, but will be")
def test_examples_and_logits_are_shuffled_together(name, first_inputs):
    kind, prepare = PIPELINES[name]
    attached = prepare(first_inputs.attach(kind(X, Y)))
    logs = fit_attached(caching.matcher(), attached, shuffle=True)
    assert logs["soft_loss"] == [0.0, 0.0]


def tf_maps():
    import tensorflow as tf

    return {
        "cast": lambda x, y: (tf.cast(x, "float32"), y),
        "reverse": lambda x, y: (tf.reverse(x, [0]), y),
        "reshape": lambda x, y: (tf.reshape(x, (-1,)), y),
        "add": lambda x, y: (x + 1.0, y),
        "noise": lambda x, y: (tf.random.normal((4,)) + x, y),
        "subtract": lambda x, y: (x - 1.0, y),
        "divide": lambda x, y: (x / 255.0, y),
        "multiply": lambda x, y: (x * 2, y),
        "multiplied": lambda x, y: (2 * x, y),
        "invert": lambda x, y: (1.0 - x, y),
        "negate": lambda x, y: (-x, y),
    }


@caching.needs_tf
@pytest.mark.parametrize("classes", [3, models.FEATURES])
def test_maps_that_take_the_pair_for_inputs_are_told(classes, tmp_path):
    cache = caching.build(
        tmp_path, lambda x: x @ np.eye(4, classes), fingerprint="mine"
    )
    attached = cache.attach(caching.tf_examples(X, Y))
    for change in tf_maps().values():
        with pytest.raises(TypeError, match=PAIR):
            attached.map(change)


NUMPY_MAPS = {
    "flip": np.flip,
    "divide": lambda x: x / 255.0,
    "add": lambda x: x + 1.0,
    "noise": lambda x: np.ones(4, "float32") + x,
    "multiply": lambda x: 2 * x,
    "invert": lambda x: 1.0 - x,
    "square": lambda x: x**2,
}


@pytest.mark.parametrize("name", NUMPY_MAPS)
def test_a_map_of_numpy_that_takes_the_pair_for_inputs_is_told(name, cache):
    attached = cache.attach(caching.grain_examples(X, Y))
    mapped = attached.map(lambda element: (NUMPY_MAPS[name](element[0]), Y))
    with pytest.raises(TypeError, match=PAIR):
        mapped[0]


@pytest.mark.parametrize("kind", [*caching.OF_EXAMPLES, *caching.OF_BATCHES])
def test_the_size_of_a_dataset_stays_known(kind, cache):
    dataset, attached = kind(X, Y), cache.attach(kind(X, Y))
    if hasattr(dataset, "cardinality"):
        assert int(attached.cardinality()) == int(dataset.cardinality())
    else:
        assert len(attached) == len(dataset)


def test_epoch_ends_and_settings_of_a_py_dataset_are_passed_on(cache):
    settings = {"workers": 3, "max_queue_size": 4}
    plain, dataset = (
        caching.Batches(X, Y, size=10, **settings) for _ in range(2)
    )
    attached = cache.attach(dataset)
    assert (attached.workers, attached.max_queue_size) == (3, 4)
    assert not attached.use_multiprocessing
    fit(live(), plain)
    fit(student(), attached)
    assert dataset.epochs == plain.epochs >= 2


class Lists(caching.Batches):
    """Keras takes batches that are lists for tuples."""

    def __getitem__(self, index):
        return list(super().__getitem__(index))


def test_batches_may_be_lists(cache):
    logs = fit_attached(student(), cache.attach(Lists(X, Y, size=10)))
    assert_same_logs(logs, live_training("plain")[0])


class Named(caching.Batches):
    """Unlabelled batches that are no tuples."""

    def __getitem__(self, index):
        (x,) = super().__getitem__(index)
        return {"a": x, "b": 2 * x}


def test_batches_may_be_dicts(tmp_path):
    teacher = models.two_inputs(named=True)
    cache = caching.build(tmp_path, teacher, Named(X))
    distiller = models.distiller(None, models.two_inputs(True), loss=None)
    logs = fit_attached(distiller, cache.attach(Named(X, size=10)))
    assert logs["soft_loss"][0] == pytest.approx(0.0, abs=1e-6)


# Refused at once.


def augmented(dataset):
    import tensorflow as tf

    return dataset.map(lambda x, y: (x + tf.random.normal(tf.shape(x)), y))


def brighter(dataset):
    return dataset.map(lambda x, y: (x * 1.001, y))


def other_dtype(dataset):
    import tensorflow as tf

    return dataset.map(lambda x, y: (tf.cast(x, "float16"), y))


def other_shape(dataset):
    return dataset.map(lambda x, y: (x[..., :2], y))


def other_name(dataset):
    return dataset.map(lambda x, y: ({"x": x}, y))


COUNTED = f"{ANOTHER_DATASET}. Received: {{}} examples, expected 20 examples."
# One row: a dataset, and what the message must contain.
REFUSED = {
    "shuffled arrays": (lambda: (X[::-1].copy(), Y), NOT_THOSE),
    "swapped at the end": (
        lambda: X[[*range(18), 19, 18]],
        f"{NOT_THOSE}.*2 of 20 examples .* first example 18",
    ),
    "a slice": (lambda: (X[:8], Y[:8]), COUNTED.format(8)),
    "one too few": (lambda: X[:-1], COUNTED.format(19)),
    "more": (lambda: np.concatenate([X, X]), COUNTED.format(40)),
    "float64": (
        lambda: X.astype("float64"),
        f"{ANOTHER_DATASET}. Received: inputs of shape \\(4,\\) and dtype "
        "float64, expected inputs of shape .* and dtype float32. Apply",
    ),
    "other width": (lambda: X[:, :3].copy(), ANOTHER_DATASET),
    "named": (lambda: {"x": X}, ANOTHER_DATASET),
    "scaled": (lambda: (X * 1.001, Y), NOT_THOSE),
    "two inputs": (lambda: ((X, X), Y), ANOTHER_DATASET),
    "fewer batches": (
        lambda: caching.Batches(X[:8], Y[:8]),
        f"{ANOTHER_DATASET}. Received: 1 batches of 8 examples, expected 20",
    ),
    "more batches": (
        lambda: caching.Batches(np.concatenate([X, X])),
        ANOTHER_DATASET,
    ),
    "generator": (lambda: ((x, y) for x, y in [(X, Y)]), "A generator has no"),
    "none": (lambda: None, "must be arrays"),
    "grain shuffled": (
        lambda: caching.grain_examples(X, Y).shuffle(seed=1),
        NOT_THOSE,
    ),
    "grain slice": (
        lambda: caching.grain_examples(X)[:8],
        COUNTED.format(8),
    ),
    "grain repeated": (
        lambda: caching.grain_examples(X).repeat(),
        "repeats for ever",
    ),
    "grain repeated twice": (
        lambda: caching.grain_batches(X).repeat(2),
        ANOTHER_DATASET,
    ),
}
TF, BATCHES = caching.tf_examples, caching.tf_batches
REFUSED |= {
    "tf shuffled": (lambda: TF(X, Y).shuffle(20), NOT_THOSE),
    "tf shuffled once": (
        lambda: TF(X, Y).shuffle(20, reshuffle_each_iteration=False),
        NOT_THOSE,
    ),
    "tf shuffled batches": (
        lambda: BATCHES(X, Y, size=5).shuffle(4, seed=1),
        NOT_THOSE,
    ),
    "tf augmented": (lambda: augmented(TF(X, Y)), NOT_THOSE),
    "tf scaled": (lambda: brighter(BATCHES(X, Y)), NOT_THOSE),
    "tf filtered": (
        lambda: TF(X, Y).filter(lambda x, y: x[0] > 0),
        COUNTED.format(int((X[:, 0] > 0).sum())),
    ),
    "tf taken": (lambda: TF(X, Y).take(8), COUNTED.format(8)),
    "tf taken batches": (lambda: BATCHES(X, Y).take(1), ANOTHER_DATASET),
    "tf skipped": (lambda: TF(X, Y).skip(1), COUNTED.format(19)),
    "tf dtype": (lambda: other_dtype(TF(X, Y)), ANOTHER_DATASET),
    "tf dtype batches": (
        lambda: other_dtype(BATCHES(X, Y)),
        ANOTHER_DATASET,
    ),
    "tf shape": (lambda: other_shape(TF(X, Y)), ANOTHER_DATASET),
    "tf name": (lambda: other_name(TF(X, Y)), ANOTHER_DATASET),
    "tf endless": (lambda: TF(X, Y).repeat(), "repeats for ever"),
    "tf endless batches": (
        lambda: BATCHES(X, Y).repeat(),
        "repeats for ever",
    ),
    "tf repeated": (
        lambda: BATCHES(X, Y).repeat(2),
        ANOTHER_DATASET,
    ),
    "tf repeated examples": (
        lambda: TF(X, Y).repeat(2),
        COUNTED.format(40),
    ),
}


@pytest.mark.parametrize("name", caching.names(REFUSED))
def test_another_dataset_is_refused(name, cache):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        cache.attach(make())


# Refused when the batch is read, before it is trained on.


class Reshuffled(caching.Batches):
    """Draws a new order when an epoch ends, as is usual."""

    def on_epoch_end(self):
        super().on_epoch_end()
        order = np.roll(np.arange(EXAMPLES), self.epochs)
        self.data = caching.rows(self.data, order)


class NoisyLater(caching.Batches):
    """Augments all batches but the first."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return (x + bool(index), y)


def noisy_grain(x, y):
    dataset = caching.grain_examples(x, y)
    return dataset.map_with_index(
        lambda index, element: (element[0] + np.float32(index > 9), element[1])
    ).batch(10)


LATE = {
    "reshuffled": (lambda *data: Reshuffled(*data, size=10), 2),
    "reshuffled by threads": (
        lambda *data: Reshuffled(*data, size=10, workers=2, max_queue_size=1),
        2,
    ),
    "augmented": (lambda *data: NoisyLater(*data, size=10), 1),
    "grain": (noisy_grain, 1),
}


def shuffled_later(x, y):
    dataset = caching.tf_examples(x, y)
    later = dataset.skip(10).shuffle(10, seed=1)
    return dataset.take(10).concatenate(later).batch(10)


def augmented_later(x, y):
    dataset = caching.tf_batches(x, y, size=10)
    return dataset.take(1).concatenate(augmented(dataset.skip(1)))


LATE |= {
    "tf shuffled": (shuffled_later, 1),
    "tf augmented": (augmented_later, 1),
}


@pytest.mark.parametrize("name", caching.names(LATE))
def test_no_wrong_logits_are_trained_on(name, first_inputs):
    kind, right_batches = LATE[name]
    attached = first_inputs.attach(kind(X, Y))
    seen = caching.SoftLosses()
    # In graphs of TensorFlow an error of ours keeps its text, not its class.
    with pytest.raises(Exception, match=NOT_THOSE):
        fit_attached(caching.matcher(), repeated(attached), callbacks=[seen])
    assert set(seen.values) <= {0.0}
    assert len(seen.values) <= right_batches


# Other processes.


def test_a_cache_can_be_pickled(cache):
    copy = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(copy.logits(), cache.logits())
    assert repr(copy) == repr(cache)


@pytest.mark.parametrize("kind", [caching.Batches, *caching.OF_EXAMPLES[:1]])
def test_an_attached_dataset_can_be_pickled(kind, cache):
    attached = cache.attach(kind(X, Y))
    copy = pickle.loads(pickle.dumps(attached))
    found = caching.attached_logits(copy)
    np.testing.assert_array_equal(found, cache.logits())
