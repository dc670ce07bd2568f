"""Distillers without a teacher, and the logits that stand in for it."""

import backend
import keras
import models
import numpy as np
import pytest
import reference
from keras import ops

import keras_distill as kd
from keras_distill import _attached
from keras_distill.cache import _records

BACKEND = keras.backend.backend()
EXAMPLES, BATCH = 20, 10
X, Y = models.data(EXAMPLES)
NO_TEACHER = "This Distiller has no teacher.*kd.TeacherCache.attach"


def teacher_logits(x=X):
    return models.logits(models.sequential(seed=2), x)


def attached(x=X, logits=None):
    logits = teacher_logits(x) if logits is None else logits
    return kd.WithTeacherLogits(x, logits)


def top_k(logits, k, dtype="float32"):
    """Logits as a cache of the k largest gives them."""
    layout = _records.Layout(logits.shape[1:], dtype, k)
    checks = np.zeros(len(logits), "uint32")
    return layout.decode(layout.encode(logits.astype("float32"), checks))


def student(**kwargs):
    return models.distiller(None, models.sequential(units=4), **kwargs)


def live(**kwargs):
    teacher = models.sequential(seed=2)
    return models.distiller(teacher, models.sequential(units=4), **kwargs)


def fit(model, x, y=Y, **kwargs):
    keras.utils.set_random_seed(3)
    options = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **(options | kwargs)).history


def assert_same_logs(logs, expected, rel=1e-5):
    assert logs.keys() == expected.keys()
    for name, values in expected.items():
        assert logs[name] == pytest.approx(values, rel=rel), name


# Attached logits stand in for a teacher.


@pytest.fixture(scope="module")
def expected():
    """What a live teacher makes of the student."""
    model = live()
    return fit(model, X), models.snapshot(model.student)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"run_eagerly": True}, id="eager"),
        pytest.param({"run_eagerly": False}, id="usual"),
        pytest.param(
            {"run_eagerly": False, "steps_per_execution": 2},
            id="steps",
            marks=pytest.mark.skipif(
                BACKEND == "torch", reason="no steps_per_execution on torch"
            ),
        ),
    ],
)
def test_fit_is_that_of_a_live_teacher(options, expected):
    model = student(**options)
    logs, weights = expected
    assert_same_logs(fit(model, attached()), logs)
    models.assert_same(models.snapshot(model.student), weights, atol=1e-6)


@pytest.mark.parametrize("k", [3, None])
def test_train_on_batch(k):
    x, y = X[:BATCH], Y[:BATCH]
    logits = teacher_logits(x)
    logits = logits if k is None else top_k(logits, k)
    logs = models.step(student(), attached(x, logits), y)
    for name, value in models.step(live(), x, y).items():
        assert logs[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", [models.unbuilt, models.Subclassed])
def test_a_student_is_built_from_its_own_inputs(kind, expected):
    model = models.distiller(None, kind(units=4), run_eagerly=False)
    assert_same_logs(fit(model, attached()), expected[0])


@pytest.mark.parametrize("named", [True, False], ids=["dict", "tuple"])
def test_structured_inputs(named):
    x = {"a": X, "b": 2 * X} if named else (X, 2 * X)
    teacher = models.two_inputs(named, seed=2)
    model = models.distiller(None, models.two_inputs(named))
    usual = models.distiller(teacher, models.two_inputs(named))
    logits = models.logits(teacher, x)
    assert_same_logs(fit(model, attached(x, logits)), fit(usual, x))


@pytest.mark.parametrize("k", [3, None])
def test_logits_with_a_time_axis(k):
    words, labels = models.sequences(BATCH)
    teacher = models.tagger(seed=2)
    logits = models.logits(teacher, words)
    logits = logits if k is None else top_k(logits, k)
    model = models.distiller(None, models.tagger(mask_zero=True))
    usual = models.distiller(teacher, models.tagger(mask_zero=True))
    logs = fit(model, attached(words, logits), labels)
    assert_same_logs(logs, fit(usual, words, labels))


def test_the_logits_are_not_trained_on_where_they_weigh_nothing():
    wild = attached(X, np.full((EXAMPLES, 3), np.inf, "float32"))
    model, plain = (student(hard=1.0, soft=0.0) for _ in range(2))
    assert_same_logs(fit(model, wild), fit(plain, X))
    snapshots = (models.snapshot(m.student) for m in (model, plain))
    models.assert_same(*snapshots)


def test_evaluate_and_predict_leave_the_logits_out():
    model = student()
    wild = attached(X, np.full((EXAMPLES, 3), np.nan, "float32"))
    logs = models.evaluate(model, wild, Y, batch_size=BATCH)
    expected = models.evaluate(model, X, Y, batch_size=BATCH)
    assert logs == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(
        *(model.predict(x, batch_size=BATCH, verbose=0) for x in (wild, X)),
        atol=1e-6,
    )


def test_metrics_see_the_labels():
    model = student(metrics=["accuracy"])
    logs = fit(model, attached(), validation_data=(attached(), Y))
    assert_same_logs(
        logs, fit(live(metrics=["accuracy"]), X, validation_data=(X, Y))
    )


# Top-k logits.

LOSSES = {
    "soft_targets": kd.losses.SoftTargets(2.0),
    "logit_matching": kd.losses.LogitMatching(),
    "ttm": kd.losses.TTM(3.0),
    "wttm": kd.losses.WTTM(3.0),
}
SHAPE = (2, 3, 7)


def random_logits(seed, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3.0, size=shape).astype("float32")


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_top_k_of_all_classes_gives_the_loss_of_all_logits(loss):
    v, z = random_logits(0), random_logits(1)
    weights = np.linspace(0.1, 2.0, v[..., 0].size).reshape(SHAPE[:-1])
    weights = weights.astype("float32")
    found, expected = (
        backend.value_and_grad(lambda z, v=v: loss(v, z, weights), z)
        for v in (_attached.dense(top_k(v, 7)), v)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_a_loss_at_temperature_1_sees_the_mean_of_the_rest():
    v, z = random_logits(0), random_logits(1)
    p = reference.softmax(v)
    rest = p < np.sort(p, axis=-1)[..., 3:4]
    mean = (p * rest).sum(axis=-1, keepdims=True) / rest.sum(-1, keepdims=True)
    q = reference.softmax(z)
    expected = reference.kl_divergence(np.where(rest, mean, p), q)
    spread = _attached.dense(top_k(v, 4))
    found = kd.losses.soft_targets(spread, z, 1.0)
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-5)


def test_dense_is_compiled():
    v = random_logits(0)
    found = backend.compiled(_attached.dense)(
        keras.tree.map_structure(ops.convert_to_tensor, top_k(v, 3))
    )
    expected = _attached.dense(top_k(v, 3))
    np.testing.assert_allclose(
        backend.to_numpy(found), backend.to_numpy(expected), rtol=1e-6
    )


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("k", [None, 2])
def test_another_number_of_classes_is_refused(k, eager):
    logits = random_logits(0, (EXAMPLES, 5))
    logits = logits if k is None else top_k(logits, k)
    model = student(run_eagerly=eager)
    before = models.snapshot(model.student)
    message = "logits.shape=.*, 5.*, .*student_logits.shape=.*, 3"
    with pytest.raises(ValueError, match=message):
        fit(model, attached(X, logits))
    models.assert_same(models.snapshot(model.student), before)


# What is refused.


def test_no_logits_at_all_are_refused():
    model = student(run_eagerly=False)
    before = models.snapshot(model.student)
    with pytest.raises(ValueError, match=NO_TEACHER):
        fit(model, X)
    models.assert_same(models.snapshot(model.student), before)
    fit(model, attached())
    assert models.changed(before, models.snapshot(model.student))


def test_a_teacher_and_attached_logits_are_refused():
    model = live(run_eagerly=False)
    before = models.snapshot(model.student)
    with pytest.raises(ValueError, match="two sorts of teacher logits"):
        fit(model, attached())
    models.assert_same(models.snapshot(model.student), before)
    model.teacher = None
    fit(model, attached())
    assert models.changed(before, models.snapshot(model.student))


@pytest.mark.parametrize("arguments", [{"y": Y}, {"sample_weight": Y}])
def test_labels_given_twice_are_refused(arguments):
    given = "y" if "y" in arguments else "sample_weight"
    message = f"hold the labels and weights already. Received: {given} in"
    with pytest.raises(ValueError, match=message):
        student().fit((attached(), Y), verbose=0, **arguments)


def test_weights_without_labels_are_refused():
    with pytest.raises(ValueError, match="`sample_weight` would be ignored"):
        student(loss=None).fit((attached(), None, Y), verbose=0)


NOT_LOGITS = {
    "nan": (np.full((EXAMPLES, 3), np.nan), "are not finite"),
    "probabilities": (
        reference.softmax(np.ones((EXAMPLES, 3))),
        "probabilities where logits are expected",
    ),
}


@pytest.mark.parametrize("name", NOT_LOGITS)
def test_eager_steps_check_attached_logits(name):
    logits, message = NOT_LOGITS[name]
    with pytest.raises(ValueError, match=message):
        fit(student(), attached(X, logits.astype("float32")))


# Saving and precision.


def test_a_distiller_trained_from_attached_logits_is_saved(tmp_path):
    model = student()
    fit(model, attached())
    model.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(
        *(m.predict(X, batch_size=BATCH, verbose=0) for m in (loaded, model))
    )
    assert loaded.teacher is None
    assert_same_logs(fit(loaded, attached()), fit(model, attached()))
    loaded.teacher = models.linear(seed=5)
    fit(loaded, X)


def test_training_goes_on_with_a_live_teacher_and_back(expected):
    model = student(run_eagerly=False)
    teacher = models.sequential(seed=2)
    first = fit(model, attached(), epochs=1)
    model.teacher = teacher
    second = fit(model, X, epochs=1)
    for name, values in expected[0].items():
        found = [*first[name], *second[name]]
        assert found == pytest.approx(values, rel=1e-5)
    model.teacher = None
    with pytest.raises(ValueError, match=NO_TEACHER):
        fit(model, X, epochs=1)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("k", [None, 3])
def test_losses_of_mixed_precision_students_are_in_float32(policy, k):
    small = models.with_policy(policy, models.linear)
    x, y = X[:BATCH], Y[:BATCH]
    z, v = models.logits(small, x), 50.0 * teacher_logits(x)
    soft = reference.soft_targets(v, z, models.TEMPERATURE).mean()
    model = models.distiller(None, small)
    logits = v if k is None else top_k(v, k)
    logs = models.step(model, attached(x, logits), y)
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_logits_of_any_stored_dtype(dtype):
    x, y = X[:BATCH], Y[:BATCH]
    z, v = models.logits(models.linear(), x), teacher_logits(x)
    kept = top_k(v, 3, dtype)
    rounded = backend.to_numpy(_attached.dense(kept))
    soft = reference.soft_targets(rounded, z, models.TEMPERATURE).mean()
    model = models.distiller(None, models.linear())
    logs = models.step(model, attached(x, kept), y)
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)
