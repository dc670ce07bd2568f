"""Bad input to `Distiller`, `Ensemble`, `as_logits` and `evaluate_fidelity`."""

import ast
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
NAN, INF = float("nan"), float("inf")
LABELS = np.array([0, 1])
SOFT = kd.losses.SoftTargets(2.0)


def model(classes=3, activation=None, shape=(4,)):
    dense = layers.Dense(classes, activation=activation)
    return keras.Sequential([keras.Input(shape), dense])


class Subclassed(keras.Model):
    def __init__(self, classes=3, activation=None):
        super().__init__()
        self.dense = layers.Dense(classes, activation=activation)

    def call(self, x):
        return self.dense(x)


def two_outputs():
    inputs = keras.Input((4,))
    heads = [layers.Dense(3)(inputs), layers.Dense(3)(inputs)]
    return keras.Model(inputs, heads)


def shares_a_layer():
    teacher = model()
    inputs = keras.Input((4,))
    student = keras.Model(inputs, teacher.layers[0](inputs))
    return kd.Distiller(teacher, student, SOFT)


def same_twice():
    both = model()
    return kd.Distiller(both, both, SOFT)


def distiller(teacher=None, student=None, loss=SOFT, **kwargs):
    return kd.Distiller(teacher or model(), student or model(), loss, **kwargs)


def fit(teacher=None, student=None, y=LABELS, loss="logits", eager=False, **kw):
    if loss == "logits":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    it = distiller(teacher, student, **kw)
    it.compile(optimizer="sgd", loss=loss, run_eagerly=eager)
    it.fit(np.ones((2, 4)), y, verbose=0)


def fit_loaded():
    loaded = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(distiller())
    )
    loaded.compile(optimizer="sgd", loss=None)
    loaded.fit(np.ones((2, 4)), verbose=0)


def nan_teacher():
    teacher = model()
    teacher.layers[0].kernel.assign(np.full((4, 3), NAN))
    return teacher


def fidelity(teacher=None, student=None, dataset=None):
    dataset = (np.ones((2, 4)), LABELS) if dataset is None else dataset
    models = [teacher or model(), student or model()]
    return kd.evaluate_fidelity(*models, dataset, verbose=0)


def ensemble(members=None, **kwargs):
    return kd.Ensemble(members or [model(), model()], **kwargs)


losses = keras.losses
D_LOSS = "`distillation_loss`"
FROM_LOGITS = "from_logits=True"
CLASSES = ["(None, 3)", "(None, 4)", "the same classes, in"]
SHAPES = ["same shape", "Received", "the same classes, in the same order"]
WEIGHT = "Leave a member out"

# One row: id, call, error, and what its message must contain: the argument,
# what was received, and the fix.
# fmt: off
CASES = [
    # The distillation loss.
    ("loss string", lambda: distiller(loss="kl_divergence"), TypeError,
     D_LOSS, "'kl_divergence'", "kd.losses.SoftTargets"),
    ("loss class", lambda: distiller(loss=kd.losses.TTM), TypeError,
     D_LOSS, "TTM", "instance", "kd.losses.SoftTargets"),
    ("loss function", lambda: distiller(loss=kd.losses.ttm), TypeError,
     D_LOSS, "<function ttm", "kd.losses.SoftTargets"),
    ("loss None", lambda: kd.Distiller(model(), model(), None), TypeError,
     D_LOSS, "None", "kd.losses.SoftTargets"),
    ("loss KLDivergence", lambda: distiller(loss=losses.KLDivergence()),
     ValueError, D_LOSS, "KLDivergence()", "kd.losses.SoftTargets"),
    ("loss CategoricalCrossentropy",
     lambda: distiller(loss=losses.CategoricalCrossentropy(from_logits=True)),
     ValueError, D_LOSS, "CategoricalCrossentropy()", "kd.losses.SoftTargets"),
    ("loss unreduced",
     lambda: distiller(loss=kd.losses.TTM(2.0, reduction=None)),
     ValueError, D_LOSS, "reduction=None", "sum_over_batch_size"),
    ("loss unreduced none",
     lambda: distiller(loss=kd.losses.LogitMatching(reduction="none")),
     ValueError, D_LOSS, "reduction='none'", "sum_over_batch_size"),
    # Several teachers, and no Ensemble of them.
    ("teachers in a list", lambda: distiller([model(), model()]), TypeError,
     "`teacher`", "[<Sequential", "of type list", "kd.Ensemble(models)"),
    ("teachers in a tuple", lambda: distiller((model(), model())), TypeError,
     "`teacher`", "(<Sequential", "of type tuple", "kd.Ensemble(models)"),
    ("teachers set", lambda: setattr(distiller(), "teacher", [model()]),
     TypeError, "`teacher`", "[<Sequential", "kd.Ensemble(models)"),
    ("fidelity's teachers", lambda: fidelity([model(), model()]), TypeError,
     "`teacher`", "[<Sequential", "kd.Ensemble(models)"),
    # Models that do not fit together.
    ("class counts", lambda: distiller(model(3), model(4)), ValueError,
     "`teacher` and `student`", *CLASSES),
    ("ranks", lambda: distiller(model(), model(shape=(3, 4))), ValueError,
     "`teacher` and `student`", "(None, 3)", "(None, 3, 3)", "same classes"),
    ("output counts", lambda: distiller(two_outputs(), model()), ValueError,
     "`teacher` must have the outputs", "the 2 outputs", "same names"),
    ("same model", same_twice, ValueError,
     "`teacher` and `student`", "the same model", "clone_model"),
    ("shared layer", shares_a_layer, ValueError,
     "`teacher` and `student`", "shared layers ['dense", "clone_model"),
    ("fidelity's class counts", lambda: fidelity(model(3), model(4)),
     ValueError, "`teacher` and `student`", *CLASSES),
    ("fidelity's subclassed class counts",
     lambda: fidelity(model(3), Subclassed(4)), ValueError, *SHAPES),
    ("fidelity's ranks", lambda: fidelity(model(), model(shape=(3, 4))),
     ValueError, "`teacher` and `student`", "(None, 3, 3)", "the same classes"),
    ("fidelity of two outputs", lambda: fidelity(two_outputs(), two_outputs()),
     ValueError, "`teacher`", "2 outputs", "one"),
    ("fidelity of None", lambda: kd.evaluate_fidelity(model(), model(), None),
     (TypeError, ValueError), "`dataset`", "None"),
    # Ensembles.
    ("no members", lambda: kd.Ensemble([]), ValueError,
     "`members`", "members=[]", "at least one Keras model"),
    ("members no list", lambda: kd.Ensemble(model()), ValueError,
     "`members`", "<Sequential", "a list"),
    ("members a generator", lambda: kd.Ensemble(model() for _ in "ab"),
     ValueError, "`members`", "<generator", "a list"),
    ("members' class counts", lambda: ensemble([model(3), model(4)]),
     ValueError, "`members[0]` and `members[1]`", *CLASSES),
    ("members' ranks", lambda: ensemble([model(), model(shape=(3, 4))]),
     ValueError, "`members[0]` and `members[1]`", "(None, 3, 3)", "same"),
    ("members of two outputs", lambda: ensemble([two_outputs()] * 2),
     ValueError, "`members[0]`", "2 outputs", "one"),
    ("combine", lambda: ensemble(combine="mean"), ValueError,
     "`combine`", "combine='mean'", "('arithmetic', 'geometric')"),
    ("combine None", lambda: ensemble(combine=None), ValueError,
     "`combine`", "combine=None", "arithmetic"),
    ("too few weights", lambda: ensemble(weights=[1.0]), ValueError,
     "`weights`", "1 weights for 2 members", "one number per member"),
    ("no weights", lambda: ensemble(weights=[]), ValueError,
     "`weights`", "0 weights for 2 members", "one number per member"),
    ("a number for weights", lambda: ensemble(weights=3), TypeError,
     "`weights`", "weights=3", "one number per member"),
    ("negative weight", lambda: ensemble(weights=[1, -1]), ValueError,
     "`weights`", "[1, -1]", WEIGHT),
    ("zero weight", lambda: ensemble(weights=[1, 0]), ValueError,
     "`weights`", "[1, 0]", WEIGHT),
    ("NaN weight", lambda: ensemble(weights=[1, NAN]), ValueError,
     "`weights[1]`", "nan", WEIGHT),
    ("infinite weight", lambda: ensemble(weights=[INF, 1]), ValueError,
     "`weights[0]`", "inf", WEIGHT),
    ("string weight", lambda: ensemble(weights=["1", 1]), TypeError,
     "`weights[0]`", "'1'", WEIGHT),
    ("weights that underflow", lambda: ensemble(weights=[5e-324, 1e300]),
     ValueError, "`weights`", "5e-324"),
    ("ensemble kind", lambda: ensemble(kind="values"), ValueError,
     "`kind`", "'values'", "'labels', for a sigmoid"),
    ("labels of a softmax", lambda: ensemble(
        [model(3, "softmax")], kind="labels"), ValueError,
     "`members[0]`", "softmax", "compare classes"),
    ("labels of an ensemble of classes", lambda: ensemble(
        [ensemble()], kind="labels"), ValueError,
     "`members[0]`", "must end in logits of labels", "logits of classes"),
    ("classes of an ensemble of labels", lambda: ensemble(
        [ensemble(kind="labels")]), ValueError,
     "`members[0]`", "must end in logits of classes", "logits of labels"),
    # as_logits.
    ("unbuilt", lambda: kd.as_logits(keras.Sequential([layers.Dense(3)])),
     ValueError, "`model`", "unbuilt model", "Call it on a batch"),
    ("unbuilt subclassed", lambda: kd.as_logits(Subclassed()),
     ValueError, "`model`", "unbuilt model", "Call it on a batch"),
    ("outputs", lambda: kd.as_logits(two_outputs()), ValueError,
     "`model`", "2 outputs", "one model per output"),
    ("dropped sigmoid", lambda: kd.as_logits(keras.Sequential(
        [model(3, "sigmoid"), layers.Dropout(0.5)])), ValueError,
     "`model`", "sigmoid", "linear last layer"),
    # The first fit.
    ("fit without a teacher",
     fit_loaded, ValueError,
     "no teacher", "None", "distiller.teacher = teacher"),
    ("fit subclassed class counts", lambda: fit(Subclassed(3), Subclassed(4)),
     ValueError, *SHAPES),
    ("fit without labels", lambda: fit(y=None), ValueError,
     "labels", "hard_loss_weight=0.1", "compile(loss=None)"),
    ("fit labels in vain", lambda: fit(loss=None), ValueError,
     "labels", "hard_loss_weight=0.1", "Compile with a loss"),
    ("fit loss string", lambda: fit(loss="sparse_categorical_crossentropy"),
     ValueError, "expects probabilities", "loss='sparse", FROM_LOGITS),
    ("fit loss function", lambda: fit(loss=losses.categorical_crossentropy),
     ValueError, "expects probabilities", "loss=<function", FROM_LOGITS),
    ("fit loss object",
     lambda: fit(loss=losses.SparseCategoricalCrossentropy()),
     ValueError, "expects probabilities", "sparse_categorical", FROM_LOGITS),
    ("fit binary loss", lambda: fit(loss=losses.BinaryCrossentropy()),
     ValueError, "expects probabilities", "binary_cross", FROM_LOGITS),
    ("fit NaN in teacher", lambda: fit(nan_teacher(), eager=True), ValueError,
     "teacher's logits are not finite", "6 of 6", "Check the teacher's"),
    ("fit probabilities", lambda: fit(Subclassed(3, "softmax"), eager=True),
     ValueError, "probabilities", "sum to 1", "kd.as_logits(teacher)"),
    ("fit labels out of range", lambda: fit(y=LABELS + 2, eager=True),
     ValueError, "the 3 output units", "Check the label encoding"),
]
# fmt: on


@pytest.mark.parametrize("row", CASES, ids=[row[0] for row in CASES])
def test_is_refused(row):
    _, call, error, *message = row
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) in (ValueError, TypeError)
    for part in message:
        assert part in str(raised.value)


PACKAGE = pathlib.Path(kd.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_nothing_is_left_to_assert(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asserts = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    assert asserts == []
