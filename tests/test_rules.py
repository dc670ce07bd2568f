"""Rules that tell losses and metrics apart by what they do.

The tables go through all that Keras exports. A name is written down where a
rule lets it through, or where it cannot be tried; all others are refused.
"""

import inspect

import keras
import pytest
from keras import ops

import keras_distill as kd
from keras_distill._compiled import _pairing, _probes, _rules

L, M = keras.losses, keras.metrics

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
@pytest.mark.once
def test_losses_of_logits_alone_ignore_a_constant(shape):
    passed, unknown = outcomes(_rules.OfClasses, shape, "loss", LOSSES)
    sequences = len(shape) > 2
    assert passed == OF_CLASSES | (CTC if sequences else set())
    assert unknown == exists(LACKS, LOSSES) | (CIRCLE if sequences else CTC)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.once
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
@pytest.mark.once
def test_losses_of_labels_fall_as_a_logit_turns_to_its_label(shape):
    passed, _ = outcomes(_rules.OfLabels, shape, "loss", LOSSES)
    assert passed == OF_LABELS | SAY_PROBABILITIES


# Of no threshold between 0 and 1, and no softmax of a single unit.
OF_HITS = {"AUC(True)", "BinaryCrossentropy(True)", "CategoricalHinge"}
OF_HITS |= {"Hinge", "SquaredHinge", "Sum", "binary_focal_crossentropy"}
OF_HITS |= {"categorical_hinge", "hinge", "squared_hinge"}
RANK_LABELS = {n for n in RANKED if "parse" not in n} | F_SCORES


@pytest.mark.parametrize("shape", [(None, 1), (None, 8)], ids=str)
@pytest.mark.once
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


@pytest.mark.parametrize("shape", [(None, 3), (None, 5, 5, 1)])
def test_a_smooth_metric_of_hits_passes_however_flat(shape):
    """As the dice of a segmentation does."""
    smooth = {
        "dice": lambda y, z: L.dice(y, ops.sigmoid(z)),
        "flat": lambda y, z: ops.mean(0.05 * abs(y - ops.sigmoid(z))),
    }
    passed, _ = outcomes(_rules.OfHits, shape, "metrics", smooth)
    assert passed == smooth.keys()


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
