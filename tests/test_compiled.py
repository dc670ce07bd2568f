"""What `compile` got fits the kind of each output, by rules that are tried.

The tables go through all that Keras exports. A name is written down where a
rule lets it through, or where it cannot be tried; all others are refused.
"""

import inspect

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill import (
    _comparison,
    _compiled,
    _pairing,
    _probes,
    _rules,
    _search,
)

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

# All that Keras exports, each class with both values of from_logits.

NEEDED = {"num_classes": 5, "target_class_ids": [0]}
NEEDED |= dict.fromkeys(["precision", "recall"], 0.5)
NEEDED |= dict.fromkeys(["sensitivity", "specificity"], 0.5)
ABSTRACT = {L.Loss, M.Metric, M.MeanMetricWrapper}
OTHER = {"deserialize", "get", "serialize"}


def arguments(thing):
    parameters = inspect.signature(thing).parameters.values()
    required = [p for p in parameters if p.default is p.empty]
    return {p.name: NEEDED[p.name] for p in required if p.name in NEEDED}


def exported(namespace):
    """Pairs of an id and a loss or metric."""
    for name, thing in vars(namespace).items():
        if name.startswith("_") or name in OTHER or thing in ABSTRACT:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif "from_logits" in inspect.signature(thing).parameters:
            for value in (False, True):
                kwargs = {**arguments(thing), "from_logits": value}
                yield f"{name}({value})", thing(**kwargs)
        elif inspect.isclass(thing):
            yield name, thing(**arguments(thing))


LOSSES = {**dict(exported(L)), "'ce'": "ce", "'crossentropy'": "crossentropy"}
METRICS = {**dict(exported(M)), "'accuracy'": "accuracy", "'ACC'": "ACC"}


def call(role, item):
    return _pairing.Item(role, item).call


def outcomes(rule, shape, role, given):
    """Names that a rule lets through, and names that cannot be tried."""
    calls = [call(role, item) for item in given.values()]
    verdicts = rule(_probes.shape_like(shape)).judge(calls)
    found = dict(zip(given, verdicts, strict=True))
    unknown = {n for n, v in found.items() if isinstance(v, Exception)}
    return {n for n, v in found.items() if v is True}, unknown


# Beside a softmax.

OF_CLASSES = {
    "CategoricalCrossentropy(True)",
    "CategoricalFocalCrossentropy(True)",
    "SparseCategoricalCrossentropy(True)",
}
RANKED = {"CategoricalAccuracy", "TopKCategoricalAccuracy"}
RANKED |= {"SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy"}
RANKED |= {"categorical_accuracy", "top_k_categorical_accuracy"}
RANKED |= {"sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy"}
RANKED |= {"OneHotIoU", "OneHotMeanIoU", "'accuracy'", "'ACC'"}
# A correlation leaves out the mean.
RANKED |= {"PearsonCorrelation", "pearson_correlation"}
F_SCORES = {"F1Score", "FBetaScore"}
# Those of sequences, and one that lacks an argument.
CTC, LACKS = {"CTC", "ctc"}, {"categorical_generalized_cross_entropy"}
CIRCLE = {"Circle", "circle"}
SHAPES = [(None, 2), (None, 3), (None, 5), (None, 40), (None, 4, 4)]


def exists(names, given):
    """Those that this version of Keras has."""
    return names & set(given)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_losses_of_logits_alone_ignore_a_constant(shape):
    passed, unknown = outcomes(_rules.OfClasses, shape, "loss", LOSSES)
    sequences = len(shape) > 2
    assert passed == OF_CLASSES | (CTC if sequences else set())
    assert unknown == exists(LACKS, LOSSES) | (CIRCLE if sequences else CTC)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_metrics_of_logits_alone_ignore_a_constant(shape):
    passed, unknown = outcomes(_rules.OfClasses, shape, "metrics", METRICS)
    crossentropies = {n for n in OF_CLASSES if n in METRICS}
    flat = len(shape) == 2
    expected = RANKED | crossentropies | (F_SCORES if flat else set())
    # On torch there are no 5 largest of fewer.
    on_torch = keras.backend.backend() == "torch"
    few = {n for n in RANKED if "op" in n and on_torch and shape[-1] < 5}
    assert passed == exists(expected - few, METRICS)
    of_one_axis = set() if flat else F_SCORES | {"R2Score"}
    assert unknown == exists(of_one_axis | few, METRICS)


# Beside a sigmoid.

OF_LABELS = {"BinaryCrossentropy(True)", "CategoricalHinge"}
OF_LABELS |= {"BinaryFocalCrossentropy(True)", "Hinge", "SquaredHinge"}
OF_LABELS |= {"categorical_hinge", "hinge", "squared_hinge"}
# What they say of themselves refuses these.
SAY_PROBABILITIES = {"BinaryFocalCrossentropy(False)"}
SAY_PROBABILITIES |= {"binary_focal_crossentropy"}


@pytest.mark.parametrize("shape", [(None, 1), (None, 5), (None, 3, 5)], ids=str)
def test_losses_of_labels_fall_as_a_logit_turns_to_its_label(shape):
    passed, _ = outcomes(_rules.OfLabels, shape, "loss", LOSSES)
    assert passed == OF_LABELS | SAY_PROBABILITIES


# Of no threshold between 0 and 1, and no softmax of a single unit.
OF_HITS = {"AUC(True)", "BinaryCrossentropy(True)", "CategoricalHinge"}
OF_HITS |= {"Hinge", "SquaredHinge", "Sum", "binary_focal_crossentropy"}
OF_HITS |= {"categorical_hinge", "hinge", "squared_hinge"}
RANK_LABELS = {n for n in RANKED if "parse" not in n} | F_SCORES


@pytest.mark.parametrize("shape", [(None, 1), (None, 8)], ids=str)
def test_metrics_of_hits_have_no_threshold_of_probabilities(shape):
    passed, _ = outcomes(_rules.OfHits, shape, "metrics", METRICS)
    # Of one unit, a cosine sees the sign alone.
    ranks = RANK_LABELS if shape[-1] > 1 else {"CosineSimilarity"}
    assert passed == exists(OF_HITS | ranks, METRICS)


ZERO = {
    "BinaryAccuracy": M.BinaryAccuracy(threshold=0.0),
    "BinaryIoU": M.BinaryIoU([0, 1], threshold=0.0),
    "FalseNegatives": M.FalseNegatives(thresholds=0.0),
    "Precision": M.Precision(thresholds=0.0),
    "Recall": M.Recall(thresholds=[0.0]),
    "own": lambda y, z: ops.cast((z > 0) == (y > 0.5), "float32"),
    "own smooth": lambda y, z: ops.square(y - ops.sigmoid(z)),
}


def test_metrics_with_a_threshold_of_0_pass():
    passed, _ = outcomes(_rules.OfHits, (None, 3), "metrics", ZERO)
    assert passed == set(ZERO)


# Values as they are.

DISTANCES = {"CosineSimilarity", "Huber", "LogCosh", "MeanSquaredError"}
DISTANCES |= {"MeanAbsoluteError", "MeanAbsolutePercentageError"}
DISTANCES |= {"MeanSquaredLogarithmicError"}
OF_PROBABILITIES = {"BinaryCrossentropy(False)", "Poisson"}
OF_PROBABILITIES |= {"CategoricalCrossentropy(False)"}
OBJECTS = {n: item for n, item in LOSSES.items() if n[0].isupper()}


def of_values(activation):
    def rule(shape):
        return _rules.OfValues(shape, activation)

    return outcomes(rule, (None, 5), "loss", OBJECTS)[0]


def test_a_distance_is_smallest_where_outputs_are_equal():
    assert of_values(None) == DISTANCES


def test_divergences_are_smallest_where_probabilities_are_equal():
    both = DISTANCES | OF_PROBABILITIES
    focal = "CategoricalFocalCrossentropy(False)"
    of_a_sum = {"KLDivergence", "CategoricalHinge", focal}
    assert of_values("softmax") == both | of_a_sum
    assert of_values("sigmoid") == both | {focal}


OURS = [
    kd.losses.SoftTargets(3.0),
    kd.losses.LogitMatching(),
    kd.losses.TTM(1.0),
    kd.losses.WTTM(1.0),
]


@pytest.mark.parametrize("loss", OURS, ids=lambda loss: type(loss).__name__)
def test_losses_of_ours_are_smallest_where_the_student_is_the_teacher(loss):
    rule = _rules.OfValues(_probes.shape_like((None, 5)))
    assert _rules.holds(rule, call("loss", loss))


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
FROM_LOGITS = "that takes logits, for example keras.losses.Sparse"
IF_YOU_KNOW = "kd.losses.on_logits"
THRESHOLD = "keras.metrics.BinaryAccuracy(threshold=0.0)"
LOSSES_REFUSED = [
    (CLASSES, L.CategoricalCrossentropy(), FROM_LOGITS),
    (CLASSES, "sparse_categorical_crossentropy", FROM_LOGITS),
    (CLASSES, "ce", FROM_LOGITS),
    (CLASSES, L.categorical_focal_crossentropy, FROM_LOGITS),
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
    (CLASSES, "sparse_categorical_crossentropy", FROM_LOGITS),
    (CLASSES, M.SparseCategoricalCrossentropy(), FROM_LOGITS),
    (CLASSES, M.AUC(), SIGMOID),
    (CLASSES, M.Precision(), IF_YOU_KNOW),
    (CLASSES, "kl_divergence", IF_YOU_KNOW),
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
    before = len(_compiled._RIGHT)
    for _ in range(2):
        _compiled.check(given, [["accuracy"], None], outputs)
    assert len(_compiled._RIGHT) == before + 2


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


def test_outputs_of_a_dict_have_the_names_of_keys_and_of_layers():
    x = keras.Input((4,))
    heads = {"x": layers.Dense(2, name="b")(x), "y": layers.Dense(3)(x)}
    found = _pairing.outputs_of(keras.Model(x, heads), [CLASSES])
    assert [o.shape for o in found] == [(None, 2), (None, 3)]
    assert found[0].names == ("b", "x")


# The mark of those who know.


def with_penalty(y, z):
    found = L.sparse_categorical_crossentropy(y, z, from_logits=True)
    return found + 1e-4 * ops.logsumexp(z, axis=-1) ** 2


def test_a_penalty_on_the_normaliser_is_refused_without_the_mark():
    with pytest.raises(ValueError, match="kd.losses.on_logits"):
        fit(distiller(CLASSES, with_penalty), SPARSE)
    marked = kd.losses.on_logits(with_penalty)
    plain, own = models.linear(), models.linear()
    x, y = models.data(8)
    model = kd.Distiller(
        None, own, CLASSES, soft_loss_weight=0, hard_loss_weight=1.0
    )
    model.compile("sgd", marked, metrics=[marked])
    plain.compile("sgd", with_penalty, metrics=[with_penalty])
    expected = models.fit(plain, x, y)
    found = models.fit(model, x, y)
    assert {n: found[n] for n in expected} == expected
    assert "with_penalty" in expected


MARKABLE = [
    (L.KLDivergence(), False),
    (L.Dice(reduction="sum"), False),
    ("kl_divergence", False),
    (L.poisson, False),
    (M.AUC(name="own"), True),
    (M.F1Score("micro", threshold=0.5), True),
    ("kl_divergence", True),
    ("mae", True),
    (L.poisson, True),
]
marks = pytest.mark.parametrize(
    ("item", "is_metric"), MARKABLE, ids=lambda value: str(value)[:20]
)
Y, WEIGHTS = np.eye(4, 3, dtype="float32"), np.arange(4, dtype="float32")


def logged(item, is_metric):
    model = keras.Sequential([models.linear(), layers.Activation("sigmoid")])
    if is_metric:
        model.compile("sgd", "mse", weighted_metrics=[item])
    else:
        model.compile("sgd", item)
    x, _ = models.data(4)
    return models.evaluate(model, x, Y, sample_weight=WEIGHTS)


@marks
def test_a_mark_changes_no_value_and_no_name(item, is_metric):
    expected = logged(item, is_metric)
    assert len(expected) == 1 + is_metric
    marked = kd.losses.on_logits(item)
    assert kd.losses.on_logits(marked) is marked
    assert logged(marked, is_metric) == expected


@marks
def test_a_mark_survives_saving_and_copying(item, is_metric):
    marked = kd.losses.on_logits(item)
    saved = keras.saving.serialize_keras_object(marked)
    loaded = keras.saving.deserialize_keras_object(saved)
    copied = _search.copied({"metrics": [marked]})["metrics"][0]
    for copy in (loaded, copied):
        assert type(copy) is type(marked)
        assert logged(copy, is_metric) == logged(marked, is_metric)
        outputs = [_pairing.Output((), (None, 3), CLASSES)]
        loss, metrics = (None, [copy]) if is_metric else (copy, None)
        _compiled.check(loss, [metrics], outputs)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("accuracy", ValueError, "stands for several"),
        ("no_loss", ValueError, "which Keras does not know"),
        (3, TypeError, "loss_or_metric=3 of type int"),
        (L.Dice, TypeError, "of type type"),
        (None, TypeError, "of type NoneType"),
    ],
)
def test_what_is_no_loss_and_no_metric_cannot_be_marked(given, error, text):
    with pytest.raises(error, match="`loss_or_metric` must") as raised:
        kd.losses.on_logits(given)
    assert text in str(raised.value)
    assert "Pass" in str(raised.value)


# Distillation losses.


@pytest.mark.parametrize(
    "loss",
    [L.KLDivergence(), BINARY, L.CategoricalCrossentropy(), L.Poisson()],
    ids=lambda loss: loss.name,
)
def test_a_distillation_loss_of_probabilities_is_refused(loss):
    text = "must be smallest where the student's outputs are the teacher's"
    with pytest.raises(ValueError, match=text) as error:
        kd.Distiller(None, models.linear(), loss)
    assert f"Received: distillation_loss={type(loss).__name__}()" in str(
        error.value
    )
    assert "SoftTargets(temperature) for logits" in str(error.value)
    model = kd.Distiller(None, models.linear(), CLASSES)
    with pytest.raises(ValueError, match=text):
        model.distillation_loss = loss
    assert model.distillation_loss is CLASSES


class Own(L.Loss):
    def call(self, v, z):
        return ops.mean(v * z, -1)


def test_a_loss_that_says_what_it_compares_is_taken_at_its_word():
    with pytest.raises(ValueError, match='`compares = "values"` in its class'):
        kd.Distiller(None, models.linear(), Own())
    said = type("Said", (Own,), {"compares": "values"})()
    assert kd.Distiller(None, models.linear(), said).distillation_loss is said
    uses = type("Uses", (Own,), {"uses_labels": True})()
    assert kd.Distiller(None, models.linear(), uses).distillation_loss is uses


def test_a_distillation_loss_that_cannot_be_tried_is_told():
    class OfEight(Own):
        def call(self, v, z):
            return ops.mean(ops.reshape(v - z, (8, 3)) ** 2)

    with pytest.warns(UserWarning, match="could not be tried") as told:
        kd.Distiller(None, models.linear(), OfEight())
    told = [one for one in told if "tried" in str(one.message)]
    assert len(told) == 1
    assert 'say so with `compares = "values"`' in str(told[0].message)


def test_outputs_decide_on_what_a_divergence_is_tried():
    x = keras.Input((4,))
    ends = [layers.Dense(3, a)(x) for a in ("softmax", None)]
    _comparison.check(keras.Model(x, ends), [L.KLDivergence(), VALUES])
    with pytest.raises(ValueError, match="outputs of any value"):
        _comparison.check(keras.Model(x, ends), [VALUES, L.KLDivergence()])
    _comparison.check(keras.Model(x, ends), [None, VALUES])
