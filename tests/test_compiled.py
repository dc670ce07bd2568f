"""What `compile` got must fit the kind of each output."""

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill import _compiled
from keras_distill._compiled import _check, _pairing

L, M = keras.losses, keras.metrics
SPARSE = L.SparseCategoricalCrossentropy(from_logits=True)
BINARY = L.BinaryCrossentropy(from_logits=True)


class OfLabels(L.Loss):
    """Stands for what compares labels, one Bernoulli per unit."""

    compares = "labels"

    def call(self, v, z):
        q = ops.sigmoid(v)
        return ops.mean(ops.binary_crossentropy(q, z, from_logits=True), -1)


CLASSES, LABELS = kd.losses.SoftTargets(2.0), OfLabels()
VALUES = L.MeanSquaredError()

# What a Distiller says.


def distiller(loss, given=SPARSE, metrics=None, units=3, **kwargs):
    """Compiled, of a linear student."""
    student = keras.Sequential([keras.Input((4,)), layers.Dense(units)])
    model = kd.Distiller(None, student, CLASSES, soft_loss_weight=0)
    model.distillation_loss = loss
    model.compile("sgd", given, metrics=metrics, **kwargs)
    return model


def labels_for(model, given):
    (units,) = model.student.output_shape[1:]
    rows = np.arange(8) % max(2, units)
    hot = (rows[:, None] == np.arange(units)).astype("float32")
    sparse = isinstance(given, L.SparseCategoricalCrossentropy)
    return rows if sparse else hot


def fit(model, given):
    x = np.ones((8, 4), "float32")
    return model.fit(x, labels_for(model, given), verbose=0).history


SIGMOID = "kd.losses.SigmoidTargets(temperature)"
MEAN_SQUARED = "keras.losses.MeanSquaredError() as the distillation loss"
FROM_LOGITS = "from_logits=True, or another that takes logits, for example "
LOSS_FROM_LOGITS = f"{FROM_LOGITS}keras.losses.Sparse"
METRIC_FROM_LOGITS = f"{FROM_LOGITS}keras.metrics.Sparse"
METRIC_ELSE = "for example keras.metrics.SparseCategoricalAccuracy()"
IF_YOU_KNOW = "kd.losses.on_logits"
THRESHOLD = "keras.metrics.BinaryAccuracy(threshold=0.0)"
LOSSES_REFUSED = [
    (CLASSES, L.CategoricalCrossentropy(), LOSS_FROM_LOGITS),
    (CLASSES, "sparse_categorical_crossentropy", LOSS_FROM_LOGITS),
    (CLASSES, "ce", LOSS_FROM_LOGITS),
    (CLASSES, L.categorical_focal_crossentropy, LOSS_FROM_LOGITS),
    (CLASSES, BINARY, SIGMOID),
    (CLASSES, L.BinaryFocalCrossentropy(), SIGMOID),
    (CLASSES, "bce", SIGMOID),
    (CLASSES, "mse", MEAN_SQUARED),
    (CLASSES, L.Huber(), MEAN_SQUARED),
    (CLASSES, "kl_divergence", IF_YOU_KNOW),
    (CLASSES, L.Dice(), IF_YOU_KNOW),
    (CLASSES, L.Tversky(), IF_YOU_KNOW),
    (CLASSES, "poisson", IF_YOU_KNOW),
    (LABELS, L.CategoricalCrossentropy(from_logits=True), "SoftTargets(temp"),
    (LABELS, SPARSE, "SoftTargets(temperature)"),
    (LABELS, "binary_crossentropy", "BinaryCrossentropy(from_logits=True)"),
    (LABELS, L.BinaryFocalCrossentropy(), "(from_logits=True)"),
    (LABELS, "mse", "keras.losses.MeanSquaredError() as the distillation loss"),
    (LABELS, L.KLDivergence(), IF_YOU_KNOW),
]


@pytest.mark.parametrize(
    ("kind", "given", "fix"),
    LOSSES_REFUSED,
    ids=lambda v: getattr(v, "name", None) or str(v)[:30],
)
def test_a_loss_that_contradicts_is_refused_and_mended(kind, given, fix):
    model = distiller(kind, given)
    with pytest.raises(ValueError, match="Received: loss=") as error:
        fit(model, given)
    assert fix in str(error.value)
    assert repr(given) in str(error.value)


METRICS_REFUSED = [
    (CLASSES, "sparse_categorical_crossentropy", METRIC_FROM_LOGITS),
    (CLASSES, M.SparseCategoricalCrossentropy(), METRIC_FROM_LOGITS),
    (CLASSES, M.AUC(), SIGMOID),
    (CLASSES, M.AUC(), METRIC_ELSE),
    (CLASSES, M.Precision(), IF_YOU_KNOW),
    (CLASSES, M.Precision(), METRIC_ELSE),
    (CLASSES, "kl_divergence", IF_YOU_KNOW),
    (CLASSES, "kl_divergence", METRIC_ELSE),
    (CLASSES, M.F1Score(threshold=0.5), IF_YOU_KNOW),
    (LABELS, M.BinaryAccuracy(), THRESHOLD),
    (LABELS, M.AUC(), "with from_logits=True"),
    (LABELS, M.F1Score(threshold=0.5), THRESHOLD),
    (LABELS, "mse", "A probability of 0.5 is a logit of 0"),
]


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize(
    ("kind", "given", "fix"),
    METRICS_REFUSED,
    ids=lambda v: getattr(v, "name", None) or str(v)[:30],
)
def test_a_metric_that_contradicts_is_refused(kind, given, fix, argument):
    loss = SPARSE if kind is CLASSES else BINARY
    model = distiller(kind, loss, **{argument: [given]})
    for run in (fit, evaluate):
        with pytest.raises(ValueError, match="Received: metrics=") as error:
            run(model, loss)
        assert fix in str(error.value)


def evaluate(model, given):
    x = np.ones((8, 4), "float32")
    return model.evaluate(x, labels_for(model, given), verbose=0)


def test_a_head_of_labels_trains_with_what_fits():
    given = [M.AUC(from_logits=True), M.BinaryAccuracy(threshold=0.0)]
    model = distiller(LABELS, BINARY, given)
    assert np.isfinite(fit(model, BINARY)["hard_loss"]).all()
    assert np.isfinite(evaluate(model, BINARY)).all()


def test_accuracy_of_one_unit_is_refused():
    outputs = [_pairing.Output((), (None, 1), LABELS)]
    given = [M.AUC(from_logits=True), M.BinaryAccuracy(threshold=0.0)]
    _compiled.check(BINARY, [given], outputs)
    with pytest.raises(ValueError, match="threshold=0.0"):
        _compiled.check(BINARY, [["accuracy"]], outputs)
    with pytest.raises(ValueError, match="SoftTargets"):
        _compiled.check(SPARSE, [], outputs)


def test_nothing_is_asked_beside_values():
    given = L.Poisson()
    model = distiller(VALUES, given, ["mse", M.AUC(), "accuracy"])
    assert "loss" in fit(model, given)


def test_the_users_metric_is_not_touched():
    metric = M.SparseCategoricalAccuracy()
    model = distiller(CLASSES, SPARSE, [metric])
    model.make_test_function()
    assert [float(ops.sum(v)) for v in metric.variables] == [0.0, 0.0]


def test_a_loss_with_a_state_keeps_it():
    class Counting(L.Loss):
        calls = keras.Variable(0.0, trainable=False)

        def call(self, y, z):
            self.calls.assign(self.calls + 1)
            return SPARSE(y, z)

    distiller(CLASSES, Counting()).make_train_function()
    assert backend.to_numpy(Counting.calls.value) == 0.0


# When it is looked at, and how often.


class Tried(L.Loss):
    """Counts how often it is called."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, y, z):
        self.calls += 1
        return L.sparse_categorical_crossentropy(y, z, from_logits=True)


def test_it_is_tried_once_for_each_compile_and_each_distillation_loss():
    loss = Tried()
    model = distiller(CLASSES, loss)
    model.make_train_function()
    once = loss.calls
    assert once > 0
    model.make_train_function()
    model.make_test_function()
    assert loss.calls == once
    model.distillation_loss = kd.losses.LogitMatching()
    model.make_test_function()
    assert loss.calls == 2 * once
    model.compile("sgd", loss)
    model.make_test_function()
    assert loss.calls == 3 * once


def test_what_keras_has_is_tried_once_in_a_process():
    given = L.SparseCategoricalCrossentropy(from_logits=True, ignore_class=7)
    outputs = [_pairing.Output((), (None, 6), CLASSES)]
    before = len(_check._RIGHT)
    for _ in range(2):
        _compiled.check(given, [["accuracy"], None], outputs)
    assert len(_check._RIGHT) == before + 2


def test_a_distillation_loss_may_be_changed_before_compile():
    model = distiller(CLASSES)
    fit(model, SPARSE)
    model.distillation_loss = LABELS
    model.compile("sgd", BINARY)
    assert "loss" in fit(model, BINARY)


def test_one_batch_is_checked_too():
    model = distiller(CLASSES, "mse")
    x, y = np.ones((8, 4), "float32"), np.eye(8, 3)
    for run in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="Received: loss='mse'"):
            run(x, y)


# What cannot be tried.


def of_eight(y, z):
    """Wants the shape of its data."""
    z = ops.reshape(z, (8, 3))
    return L.sparse_categorical_crossentropy(y, z, from_logits=True)


def test_what_cannot_be_tried_is_told_once():
    model = distiller(CLASSES, of_eight)
    with pytest.warns(UserWarning, match="could not be tried out") as told:
        fit(model, SPARSE)
        evaluate(model, SPARSE)
        fit(model, SPARSE)
    texts = [str(one.message) for one in told]
    texts = [text for text in texts if "tried out" in text]
    assert len(texts) == 1
    assert "kd.losses.on_logits" in texts[0]
    model.compile("sgd", of_eight)
    with pytest.warns(UserWarning, match="could not be tried out"):
        fit(model, SPARSE)


class NotCopied(M.Mean):
    def __init__(self, needed):
        super().__init__(name="not_copied")

    def update_state(self, y, z, sample_weight=None):
        return super().update_state(ops.mean(z))


def test_a_metric_that_cannot_be_copied_is_told():
    with pytest.warns(UserWarning, match="could not be tried out"):
        fit(distiller(CLASSES, SPARSE, [NotCopied(1)]), SPARSE)


def test_what_says_that_it_takes_probabilities_need_not_be_tried():
    class Says(L.Loss):
        from_logits = False

        def call(self, y, z):
            raise NotImplementedError

    with pytest.raises(ValueError, match="expects probabilities"):
        fit(distiller(CLASSES, Says()), SPARSE)


# Several outputs.


def two_heads():
    x = keras.Input((4,))
    heads = [layers.Dense(3, name=name)(x) for name in ("a", "b")]
    return keras.Model(x, heads)


def check(loss, metrics, *kinds):
    outputs = _pairing.outputs_of(two_heads(), kinds)
    _compiled.check(loss, [metrics], outputs)


FITTING = [
    (SPARSE, None, [CLASSES, CLASSES]),
    ([SPARSE, "mse"], [["accuracy"], ["mae"]], [CLASSES, VALUES]),
    ({"a": SPARSE, "b": "mse"}, {"b": ["mae"]}, [CLASSES, VALUES]),
    ({"b": "mse", "a": SPARSE}, {"b": "mae"}, [CLASSES, None]),
    ([SPARSE, None], [None, "mae"], [CLASSES, None]),
    ([SPARSE, BINARY], None, [CLASSES, LABELS]),
    # Not clear of which output they are.
    ({"a": {"c": SPARSE}, "d": "mse"}, None, [CLASSES, VALUES]),
]


@pytest.mark.parametrize("row", FITTING, ids=range(len(FITTING)))
def test_each_output_has_its_own(row):
    loss, metrics, kinds = row
    check(loss, metrics, *kinds)


CONTRADICTING = [
    ("mse", None, [CLASSES, VALUES], "for the output 'a'"),
    (["mse", SPARSE], None, [CLASSES, VALUES], "for the output 'a'"),
    ({"a": SPARSE, "b": "mse"}, None, [CLASSES] * 2, "for the output 'b'"),
    (None, {"b": ["accuracy", "mae"]}, [CLASSES] * 2, "metrics='mae'"),
    (None, [[], "mae"], [VALUES, CLASSES], "for the output 'b'"),
    ({"c": {"d": "mse"}}, None, [CLASSES, CLASSES], "loss='mse'"),
]


@pytest.mark.parametrize("row", CONTRADICTING, ids=range(len(CONTRADICTING)))
def test_an_output_is_named_where_something_contradicts(row):
    loss, metrics, kinds, text = row
    with pytest.raises(ValueError, match="does not fit") as error:
        check(loss, metrics, *kinds)
    assert text in str(error.value)


def test_an_output_may_have_a_distillation_loss_of_its_own():
    advice = r"distillation_loss=\{'b': ..., ...\}, without those that"
    with pytest.raises(ValueError, match=advice):
        check({"a": SPARSE, "b": "mse"}, None, CLASSES, CLASSES)
    with pytest.raises(ValueError, match="'mae'") as error:
        check(None, {"b": ["mae"]}, CLASSES, CLASSES)
    assert "distillation_loss=" not in str(error.value)


def test_outputs_of_a_dict_have_the_names_of_keys_and_of_layers():
    x = keras.Input((4,))
    heads = {"x": layers.Dense(2, name="b")(x), "y": layers.Dense(3)(x)}
    found = _pairing.outputs_of(keras.Model(x, heads), [CLASSES])
    assert [o.shape for o in found] == [(None, 2), (None, 3)]
    assert found[0].names == ("b", "x")


class ForEachClass(keras.losses.Loss):
    """A loss of a user with a constant for each of its classes."""

    def call(self, y, z):
        shifted = z + keras.ops.convert_to_tensor([0.1, 0.5, 0.4])
        return keras.losses.sparse_categorical_crossentropy(
            y, shifted, from_logits=True
        )


def test_a_teacher_tells_the_outputs_of_a_student_that_does_not():
    student = models.Recorder(models.linear())
    model = models.distiller(
        models.linear(seed=2), student, loss=ForEachClass()
    )
    logs = models.step(model, *models.data(8))
    assert np.isfinite(logs["hard_loss"])
