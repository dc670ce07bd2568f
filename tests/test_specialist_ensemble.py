"""A generalist and its specialists as one model: a teacher, a file, a cache.

Where the sets are disjoint and n is 1, nothing is iterated, so that compiling
takes less time; what is iterated has tests of its own.
"""

import re

import backend
import keras
import numpy as np
import pytest
import reference
from keras import layers

import keras_distill as kd
from keras_distill.specialists import Specialist, SpecialistEnsemble

CLASSES, FEATURES, ROWS = 6, 4, 16
OVERLAPPING = [[0, 1, 2], [4, 2, 3], [2, 3]]
DISJOINT = [[0, 1, 2], [4, 3]]
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def data(rows=ROWS):
    x = np.random.default_rng(0).normal(size=(rows, FEATURES))
    return x.astype("float32"), np.arange(rows) % CLASSES


def linear(units=CLASSES, **kwargs):
    head = layers.Dense(units, bias_initializer="normal", **kwargs)
    return keras.Sequential([keras.Input((FEATURES,)), head])


def noisy(units=CLASSES):
    """Shows at once if it runs in training mode."""
    hidden = [layers.Dense(3), layers.BatchNormalization()]
    dropped = [layers.Dropout(0.9, seed=1), layers.GaussianNoise(1.0, seed=2)]
    head = layers.Dense(units)
    return keras.Sequential([keras.Input((FEATURES,)), *hidden, *dropped, head])


def ensemble_of(network=linear, sets=DISJOINT, **kwargs):
    specialists = [(network(len(s) + 1), s) for s in sets]
    return SpecialistEnsemble(network(CLASSES), specialists, **kwargs)


def predict(model, x):
    return model.predict(x, batch_size=ROWS, verbose=0)


def output(model, x):
    return backend.to_numpy(model(x, training=False))


def expected(model, x, n=1):
    """Eq. (5) from what each member says, by gradient descent."""
    generalist = reference.softmax(output(model.generalist, x))
    found = []
    for row, p in enumerate(generalist):
        top = set(np.argsort(-p)[:n].tolist())
        active = [
            (
                None if s.full_softmax else s.classes,
                reference.softmax(output(s.model, x)[row]),
            )
            for s in model.specialists
            if top & set(s.classes)
        ]
        found.append(reference.combined(p, active))
    return np.stack(found)


def assert_solves(model, x, n=1, **tolerance):
    q = np.exp(predict(model, x))
    tolerance = tolerance or {"atol": 1e-6}
    np.testing.assert_allclose(q, expected(model, x, n), **tolerance)


def state(model):
    return [backend.to_numpy(v.value).copy() for v in model.variables]


def assert_same_state(before, model):
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


def flags(model):
    members = [model.generalist, *model.models]
    return [layer.trainable for m in members for layer in m.layers]


def distilled(teacher, x, y):
    """A student after two epochs of training, and the logs."""
    student = linear()
    loss = kd.losses.SoftTargets(2.0)
    distiller = kd.Distiller(teacher, student, loss)
    distiller.compile(keras.optimizers.SGD(0.5), CROSSENTROPY)
    before = state(student)
    logs = distiller.fit(x, y, batch_size=ROWS, epochs=2, verbose=0).history
    assert np.abs(before[0] - state(student)[0]).max() > 0
    return {name: values[-1] for name, values in logs.items()}


# A model like any other.


@pytest.fixture(scope="module")
def overlapping():
    keras.utils.set_random_seed(0)
    return ensemble_of(sets=OVERLAPPING, n=2)


def test_predicts_the_solution(overlapping):
    x, _ = data()
    assert_solves(overlapping, x, n=2)


def test_evaluates_what_it_predicts():
    model = ensemble_of(noisy)
    model.compile(loss=CROSSENTROPY, metrics=["accuracy"])
    x, y = data()
    before = state(model)
    log_q = predict(model, x)
    loss, accuracy = model.evaluate(x, y, batch_size=ROWS, verbose=0)
    mean = -log_q[np.arange(ROWS), y].mean()
    np.testing.assert_allclose(loss, mean, rtol=1e-5)
    assert accuracy == np.mean(log_q.argmax(axis=1) == y)
    assert_same_state(before, model)


def test_save_and_load(tmp_path):
    model = ensemble_of(noisy, n=1, name="three")
    model.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert isinstance(loaded, SpecialistEnsemble)
    assert (loaded.name, loaded.n) == ("three", 1)
    assert loaded.class_sets == DISJOINT
    assert loaded.trainable_variables == []
    x, _ = data()
    np.testing.assert_array_equal(predict(loaded, x), predict(model, x))


def test_weights_are_saved_and_loaded_alone(overlapping, tmp_path):
    path = tmp_path / "ensemble.weights.h5"
    overlapping.save_weights(path)
    other = ensemble_of(sets=OVERLAPPING, n=2)
    other.load_weights(path)
    assert_same_state(state(overlapping), other)


def test_one_example_and_the_order_of_examples():
    model = ensemble_of()
    x, _ = data()
    log_q = predict(model, x)
    np.testing.assert_allclose(predict(model, x[:1]), log_q[:1], atol=1e-6)
    np.testing.assert_allclose(predict(model, x[::-1]), log_q[::-1], atol=1e-6)


def test_members_with_a_full_softmax(tmp_path):
    specialists = [
        Specialist(linear(), [1, 3], full_softmax=True),
        # As many logits as with a dustbin.
        Specialist(linear(), [4, 5, 0, 1, 2], full_softmax=True),
        Specialist(linear(), [4, 3, 0, 1, 2]),
    ]
    model = SpecialistEnsemble(linear(), specialists)
    assert_solves(model, data()[0])
    model.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    full = [s.full_softmax for s in loaded.specialists]
    assert full == [True, True, False]


@pytest.mark.parametrize("named", [True, False])
def test_several_inputs(named):
    def network(units):
        a, b = (keras.Input((2,), name=name) for name in "ab")
        joined = layers.Concatenate()([a, b])
        inputs = {"a": a, "b": b} if named else [a, b]
        return keras.Model(inputs, layers.Dense(units)(joined))

    x, _ = data()
    parts = {"a": x[:, :2], "b": x[:, 2:]} if named else [x[:, :2], x[:, 2:]]
    assert_solves(ensemble_of(network), parts)


def test_half_precision_members_give_float32():
    model = ensemble_of(lambda units: linear(units, dtype="mixed_float16"))
    x, _ = data()
    log_q = predict(model, x)
    assert log_q.dtype == "float32"
    for member in (model.generalist, *model.models):
        dtype = keras.backend.standardize_dtype(member(x).dtype)
        assert dtype == "float16"
    # Compiled, a member may keep more digits than the float16 it returns.
    assert_solves(model, x, atol=2e-3)


def test_subclassed_members_in_a_sequential():
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.dense = layers.Dense(units)

        def call(self, inputs):
            return self.dense(inputs)

    def network(units):
        return keras.Sequential([keras.Input((FEATURES,)), Subclassed(units)])

    assert_solves(ensemble_of(network), data()[0])


# Members are frozen.


def test_nothing_is_trainable_and_no_flag_is_touched():
    model = ensemble_of(noisy)
    model.models[0].layers[0].trainable = False
    before = flags(model)
    again = SpecialistEnsemble(model.generalist, model.specialists)
    assert again.trainable_variables == again.trainable_weights == []
    assert len(again.non_trainable_variables) == len(again.variables)
    assert len(again.variables) == sum(
        len(m.variables) for m in (model.generalist, *model.models)
    )
    assert flags(again) == before
    assert model.models[1].trainable_variables


def test_members_are_unchanged_as_a_teacher():
    model = ensemble_of(noisy)
    before, before_flags = state(model), flags(model)
    logs = distilled(model, *data())
    assert np.isfinite(list(logs.values())).all()
    assert_same_state(before, model)
    assert flags(model) == before_flags
    # Batch normalisation and dropout have run in inference mode.
    assert_solves(model, data()[0])


def test_members_run_in_inference_mode_even_in_training():
    model = ensemble_of(noisy)
    x, _ = data()
    before = state(model)
    training = backend.to_numpy(model(x, training=True))
    np.testing.assert_allclose(training, predict(model, x), atol=1e-6)
    assert_same_state(before, model)


def test_iterates_as_a_teacher(overlapping):
    logs = distilled(overlapping, *data())
    assert np.isfinite(list(logs.values())).all()


# Losses that members add.


class MeanSquare(layers.Layer):
    """Passes its inputs on, and adds their mean square to the losses."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2))
        return inputs


def penalised(units):
    dense = layers.Dense(
        units, kernel_regularizer="l2", activity_regularizer="l2"
    )
    return keras.Sequential([keras.Input((FEATURES,)), dense, MeanSquare()])


def test_members_with_losses_predict_and_teach():
    model = ensemble_of(penalised)
    x, y = data()
    assert_solves(model, x)
    logs = distilled(model, x, y)
    mean = 0.1 * logs["hard_loss"] + 0.9 * logs["soft_loss"]
    # The student has no losses of its own, and gets none of the teacher's.
    np.testing.assert_allclose(logs["loss"], mean, rtol=1e-5)
    # A loss left behind by a traced branch would fail here.
    assert all(np.isfinite(float(loss)) for loss in model.losses)


def test_members_with_losses_evaluate():
    model = ensemble_of(penalised)
    model.compile(loss=CROSSENTROPY)
    x, y = data()
    loss = model.evaluate(x, y, batch_size=ROWS, verbose=0)
    log_q = predict(model, x)
    assert loss >= -log_q[np.arange(ROWS), y].mean() - 1e-5
    assert np.isfinite(loss)


# Inactive specialists.


class Counter(layers.Layer):
    """Counts on the host how often it runs."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def call(self, inputs):
        if keras.backend.backend() == "jax":
            import jax

            if isinstance(inputs, jax.core.Tracer):
                jax.debug.callback(lambda: self.runs.append(1))
        elif not isinstance(inputs, keras.KerasTensor):
            self.runs.append(1)
        return inputs


def counted(units):
    counter = Counter()
    head = layers.Dense(units)
    model = keras.Sequential([keras.Input((FEATURES,)), counter, head])
    counter.runs.clear()
    return model, counter


def of_class(model, x, classes):
    top = output(model.generalist, x).argmax(axis=1)
    return x[np.isin(top, classes)]


def test_inactive_specialists_do_not_run():
    pairs = [counted(len(s) + 1) for s in DISJOINT]
    members = [(m, s) for (m, _), s in zip(pairs, DISJOINT, strict=True)]
    model = SpecialistEnsemble(linear(), members)
    # Compiled by TensorFlow, a host's list is changed while tracing.
    model.compile(run_eagerly=keras.backend.backend() != "jax")
    x, _ = data(200)
    for _, counter in pairs:
        counter.runs.clear()
    seen = []
    for classes in (DISJOINT[0], DISJOINT[1], [5]):
        model.predict(of_class(model, x, classes)[:4], verbose=0)
        if keras.backend.backend() == "jax":
            import jax

            jax.effects_barrier()
        seen.append([len(counter.runs) for _, counter in pairs])
        for _, counter in pairs:
            counter.runs.clear()
    assert seen == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_inactive_specialists_say_does_not_matter(value):
    model = ensemble_of()
    x, _ = data(100)
    x = np.concatenate(
        [of_class(model, x, classes)[:4] for classes in (*DISJOINT, [5])]
    )
    before = predict(model, x)
    top = output(model.generalist, x).argmax(axis=1)
    for specialist in model.models:
        kernel, _ = specialist.weights
        kernel.assign(np.full(kernel.shape, value))
        elsewhere = ~np.isin(top, DISJOINT[0])
        if specialist is model.models[0]:
            # The first specialist runs, for other examples of the batch.
            assert not elsewhere.all() and elsewhere.any()
            after = predict(model, x)
            np.testing.assert_array_equal(after[elsewhere], before[elsewhere])
    neither = ~np.isin(top, sum(DISJOINT, []))
    assert neither.any()
    after = predict(model, x)
    np.testing.assert_array_equal(after[neither], before[neither])


# With the rest of the package.


def test_a_cache_of_its_logits(tmp_path):
    model = ensemble_of()
    x, y = data()
    cache = kd.TeacherCache.build(
        model, (x, y), tmp_path, dtype="float32", batch_size=8, verbose=0
    )
    np.testing.assert_allclose(cache.logits(), predict(model, x), atol=1e-6)


def test_a_change_of_a_specialist_changes_the_fingerprint(tmp_path):
    model = ensemble_of()
    arguments = {"dtype": "float32", "batch_size": 8, "verbose": 0}
    kd.TeacherCache.build(model, data(), tmp_path, **arguments)
    model.models[1].weights[0].assign(np.ones((FEATURES, 3)))
    with pytest.raises(ValueError, match="teacher"):
        kd.TeacherCache.build(model, data(), tmp_path, **arguments)


def test_fidelity_to_it():
    model, student = ensemble_of(), linear()
    x, y = data()
    found = kd.evaluate_fidelity(
        model, student, (x, y), batch_size=ROWS, verbose=0
    )
    p, q = np.exp(predict(model, x)), reference.softmax(output(student, x))
    np.testing.assert_allclose(
        found["agreement_at_1"], np.mean(p.argmax(1) == q.argmax(1))
    )
    kl = reference.kl_divergence(p.astype("float64"), q).mean()
    (name,) = (key for key in found if "kl" in key)
    np.testing.assert_allclose(found[name], kl, rtol=1e-4)


def test_a_member_of_an_ensemble():
    model, other = ensemble_of(), linear()
    x, _ = data()
    mean = (np.exp(predict(model, x)) + reference.softmax(output(other, x))) / 2
    both = kd.Ensemble([model, other])
    np.testing.assert_allclose(np.exp(output(both, x)), mean, atol=1e-6)


def test_it_ends_in_logits_already():
    model = ensemble_of()
    assert kd.as_logits(model) is model


# Errors.


def softmax(units):
    return linear(units, activation="softmax")


def two_outputs():
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, [layers.Dense(3)(inputs) for _ in "ab"])


def in_time(units):
    return keras.Sequential([keras.Input((2, FEATURES)), layers.Dense(units)])


@pytest.mark.parametrize(
    ("generalist", "specialists", "error", "text"),
    [
        (linear, [], ValueError, "list of at least one Specialist"),
        (linear, None, ValueError, "list of at least one Specialist"),
        (linear, lambda: linear(3), ValueError, "list of at least one"),
        (linear, lambda: [linear(3)], ValueError, "list of at least one"),
        (linear, [(1, [0, 1])], TypeError, "`specialists[0]` must be a keras"),
        (lambda: 1, [(1, [0, 1])], TypeError, "`generalist` must be a keras"),
        (linear, lambda: [(softmax(3), [0, 1])], ValueError, "as_logits"),
        (lambda: softmax(6), lambda: [(linear(3), [0, 1])], ValueError,
         "`generalist`"),
        (linear, lambda: [(two_outputs(), [0, 1])], ValueError, "one output"),
        (linear, lambda: [(in_time(3), [0, 1])], ValueError,
         "`specialists[0]` must be a built model with logits of shape (batch,"),
        (lambda: in_time(6), lambda: [(in_time(3), [0, 1])], ValueError,
         "`generalist` must be a built model"),
        (linear, lambda: [(keras.Sequential([layers.Dense(3)]), [0, 1])],
         ValueError, "not built"),
        (linear, lambda: [(linear(4), [0, 1])], ValueError,
         "Specialist 0 must have 3 logits"),
        (linear, lambda: [(linear(6), [0, 1])], ValueError,
         "Specialist 0 must have 3 logits"),
        (linear, lambda: [(linear(3), [0, 1], True)], ValueError,
         "6 classes"),
        (linear, lambda: [(linear(3), [0, 6])], ValueError, "below 6"),
        (linear, lambda: [(linear(3), [1, 1])], ValueError, "each class once"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(generalist, specialists, error, text):
    specialists = specialists() if callable(specialists) else specialists
    with pytest.raises(error, match=re.escape(text)):
        SpecialistEnsemble(generalist(), specialists)


@pytest.mark.parametrize("n", [0, 7, 1.5, True])
def test_n_out_of_range_is_refused(n):
    with pytest.raises(ValueError, match="`n` must be"):
        ensemble_of(n=n)
