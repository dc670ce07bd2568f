"""Sigmoid heads in a Distiller, and heads that a loss cannot compare."""

import caching
import keras
import models
import numpy as np
import pytest
import reference
from keras import layers

import keras_distill as kd
from keras_distill._keras import graph

T = 2.0
X, _ = models.data(16)
UNITS = [1, 3]
each_head = pytest.mark.parametrize("units", UNITS)
eager_or_not = pytest.mark.parametrize("eager", [True, False])
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


def head(units, activation=None, seed=1):
    keras.utils.set_random_seed(seed)
    wide = keras.initializers.RandomNormal(stddev=1.0)
    last = layers.Dense(units, activation, kernel_initializer=wide)
    return keras.Sequential([keras.Input((models.FEATURES,)), last])


def labels(units):
    return np.random.default_rng(2).integers(0, 2, (len(X), units))


def distiller(teacher, student, eager=True, rate=0.1, **kwargs):
    made = kd.Distiller(teacher, student, kd.losses.SigmoidTargets(T), **kwargs)
    optimizer = keras.optimizers.SGD(rate)
    made.compile(
        optimizer,
        BINARY,
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        run_eagerly=eager,
    )
    return made


def binary_crossentropy(labels, logits):
    p = reference.sigmoid(logits)
    each = -np.where(labels, np.log(p), np.log(1 - p))
    return each.mean(axis=-1)


# What a Distiller computes.


@each_head
@eager_or_not
def test_both_terms_and_the_step(units, eager):
    teacher, student = head(units, seed=2), head(units)
    made = distiller(teacher, student, eager)
    assert (made.hard_loss_weight, made.soft_loss_weight) == (0.1, 0.9)
    y, weight = labels(units), np.arange(16.0, dtype="float32") % 3
    v, z = models.logits(teacher, X), models.logits(student, X)
    kernel = models.snapshot(student)[0]
    logs = models.step(made, X, y, sample_weight=weight)
    hard = np.mean(weight * binary_crossentropy(y, z))
    soft = np.mean(weight * reference.sigmoid_targets(v, z, T))
    assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)
    assert logs["loss"] == pytest.approx(0.1 * hard + 0.9 * soft, rel=1e-5)
    gradient = 0.1 * (reference.sigmoid(z) - y) / units
    gradient += 0.9 * reference.sigmoid_targets_gradient(v, z, T)
    step = 0.1 * X.T @ (weight[:, None] * gradient) / len(X)
    found = models.snapshot(student)[0]
    np.testing.assert_allclose(found, kernel - step, 0, 1e-6)


@eager_or_not
def test_one_unit_with_labels_in_one_axis(eager):
    y = labels(1)
    logs = []
    for given in (y, y[:, 0]):
        made = distiller(head(1, seed=2), head(1), eager)
        logs.append(models.fit(made, X, given, epochs=2))
    assert logs[0] == logs[1]


def test_a_head_made_logits_follows_its_teacher(units=3):
    sigmoid = head(units, "sigmoid", seed=2)
    made = distiller(
        kd.as_logits(sigmoid), head(units), False, 2.0, hard_loss_weight=0
    )
    before = models.step(made, X, labels(units))["soft_loss"]
    # An epoch of many steps is faster than as many epochs.
    models.fit(made, np.tile(X, (300, 1)), np.tile(labels(units), (300, 1)))
    after = models.step(made, X, labels(units))["soft_loss"]
    assert after < 1e-3 * before
    found = reference.sigmoid(models.logits(made.student, X))
    np.testing.assert_allclose(found, models.logits(sigmoid, X), 0, 0.02)


@each_head
def test_an_ensemble_of_sigmoid_heads_teaches(units):
    members = [head(units, seed=seed) for seed in (2, 3)]
    teacher = kd.Ensemble(members, kind="labels")
    made = distiller(teacher, head(units))
    z = models.logits(made.student, X)
    logs = models.step(made, X, labels(units))
    v = models.logits(teacher, X)
    soft = reference.sigmoid_targets(v, z, T).mean()
    assert logs["soft_loss"] == pytest.approx(soft, rel=1e-5)


@each_head
def test_saved_and_loaded(units, tmp_path):
    made = distiller(head(units, seed=2), head(units), False)
    y = labels(units)
    models.fit(made, X, y)
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert models.evaluate(loaded, X, y) == models.evaluate(made, X, y)
    loaded.teacher = head(units, seed=2)
    assert models.fit(loaded, X, y) == models.fit(made, X, y)


# A cache.


@each_head
@eager_or_not
def test_a_cache_of_a_sigmoid_head_stands_in_for_it(units, eager, tmp_path):
    teacher, y = head(units, seed=2), labels(units)
    cache = caching.build(tmp_path, teacher, (X, y))
    np.testing.assert_allclose(cache.logits(), models.logits(teacher, X), 1e-6)
    live = models.fit(distiller(teacher, head(units), eager), X, y)
    cached = distiller(None, head(units), eager)
    history = cached.fit(
        cache.attach((X, y)), batch_size=8, shuffle=False, verbose=0
    ).history
    for name, value in live.items():
        assert history[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [kd.losses.SigmoidTargets(T), keras.losses.MeanSquaredError()]
)
def test_the_largest_logits_are_refused_for_all_but_classes(loss, tmp_path):
    y = labels(3)
    cache = caching.build(tmp_path, head(3, seed=2), (X, y), top_k=2)
    made = kd.Distiller(None, head(3), loss)
    made.compile("sgd", BINARY)
    with pytest.raises(ValueError, match="with top_k, and a loss that compare"):
        made.fit(cache.attach((X, y)), verbose=0)


def test_a_cache_takes_a_function_of_one_logit(tmp_path):
    cache = caching.build(
        tmp_path, lambda x: x[:, :1], (X, labels(1)), fingerprint="first"
    )
    np.testing.assert_array_equal(cache.logits(), X[:, :1])


# What does not fit together.


def with_loss(loss, **ends):
    teacher, student = ({"units": 3} | ends.get(n, {}) for n in "ts")
    return kd.Distiller(head(**teacher), head(**student), loss)


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(
    "loss, end, text",
    [
        ("classes", {"activation": "sigmoid"}, "pass kd.losses.SigmoidTargets"),
        ("classes", {"activation": "softmax"}, "Pass kd.as_logits"),
        ("labels", {"activation": "sigmoid"}, "Pass kd.as_logits"),
        ("labels", {"activation": "softmax"}, "and compare classes"),
    ],
)
def test_probabilities_are_refused(role, loss, end, text):
    losses = {
        "classes": kd.losses.SoftTargets(T),
        "labels": kd.losses.SigmoidTargets(T),
    }
    with pytest.raises(ValueError, match=f"`{role}` must end in.*{text}"):
        with_loss(losses[loss], **{role[0]: end})


def test_nothing_is_asked_of_values():
    for activation in ("softmax", "sigmoid"):
        end = {"units": 3, "activation": activation}
        loss = keras.losses.MeanSquaredError()
        made = with_loss(loss, t=end, s=end)
        made.compile("sgd", "mse", run_eagerly=True)
        p, q = (models.logits(m, X) for m in (made.teacher, made.student))
        y = labels(3).astype("float32")
        logs = models.step(made, X, y)
        assert logs["soft_loss"] == pytest.approx(((p - q) ** 2).mean(), 1e-5)


def test_one_unit_is_refused_where_classes_are_compared():
    for loss in (kd.losses.TTM(T), kd.losses.DKD()):
        with pytest.raises(
            ValueError,
            match="two units, or keep.*SigmoidTarg.*MeanSquaredError.. for val",
        ):
            kd.Distiller(None, head(1), loss)


def test_a_loss_that_does_not_fit_the_heads_is_refused_later_too():
    made = distiller(head(1, seed=2), head(1))
    before = made.distillation_loss
    with pytest.raises(ValueError, match="must have one output unit per class"):
        made.distillation_loss = kd.losses.SoftTargets(T)
    assert made.distillation_loss is before
    made.teacher = None
    with pytest.raises(ValueError, match="`student` must have one output unit"):
        made.distillation_loss = kd.losses.SoftTargets(T)


def test_an_ensemble_of_the_other_kind_is_refused():
    classes = kd.Ensemble([head(3, seed=2)])
    with pytest.raises(ValueError, match="logits of labels.*logits of classes"):
        distiller(classes, head(3))
    of_labels = kd.Ensemble([head(3, seed=2)], kind="labels")
    with pytest.raises(ValueError, match="logits of classes.*logits of labels"):
        kd.Distiller(of_labels, head(3), kd.losses.SoftTargets(T))


@pytest.mark.parametrize(
    "kind, loss",
    [("classes", kd.losses.SoftTargets), ("labels", kd.losses.SigmoidTargets)],
)
def test_logits_are_no_values(kind, loss):
    """Of regressors with one unit an Ensemble gives the logarithm of 1."""
    teacher = kd.Ensemble([head(2, seed=2), head(2, seed=3)], kind=kind)
    squared = keras.losses.MeanSquaredError()
    told = f"{loss.__name__}; for regressors.*Average"
    with pytest.raises(ValueError, match=told):
        kd.Distiller(teacher, head(2), squared)
    made = kd.Distiller(None, head(2), squared)
    with pytest.raises(ValueError, match=told):
        made.teacher = teacher
    squared.compares = kind
    assert kd.Distiller(teacher, head(2), squared).teacher is teacher


def test_a_kind_may_be_given_for_each_output():
    of_labels = kd.Ensemble([head(3, seed=2)], kind="labels")
    graph.require_logits("teacher", of_labels, ["labels"])
    graph.require_logits("teacher", of_labels, [None])
    with pytest.raises(ValueError, match="logits of classes.*logits of labels"):
        graph.require_logits("teacher", of_labels, ["classes"])


def test_logits_that_are_not_finite_are_refused_in_eager_mode():
    teacher = head(1, seed=2)
    teacher.layers[-1].bias.assign([np.nan])
    with pytest.raises(ValueError, match="not finite. Received: 8 of 8"):
        models.fit(distiller(teacher, head(1)), X, labels(1))


def two_heads():
    inputs = keras.Input((4,))
    return keras.Model(
        inputs,
        [layers.Dense(3)(inputs), layers.Dense(1, "sigmoid")(inputs)],
    )


@pytest.mark.parametrize(
    "kinds, text",
    [
        (["classes", None], None),
        (["classes", "values"], None),
        (["classes", "labels"], "last activation is a sigmoid"),
        (["labels", "classes"], "exclude each other"),
        ("classes", "last activation is a sigmoid"),
        ("values", None),
        ("logits", "last activation is a sigmoid"),
    ],
)
def test_each_output_has_a_kind(kinds, text):
    if text is None:
        graph.require_logits("student", two_heads(), kinds)
        return
    with pytest.raises(ValueError, match=f"`student`.*{text}"):
        graph.require_logits("student", two_heads(), kinds)
