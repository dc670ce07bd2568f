"""Several outputs: what goes with which, by name and by place."""

import backend
import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

# TensorFlow, of a head without a loss.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for")

BACKEND = keras.backend.backend()
X, Y = models.data(8)
LABELS = {"b": Y, "a": (Y + X[:, 0].astype("int32")) % models.CLASSES}
WEIGHTS = {
    "b": np.linspace(0.2, 1.6, 8, dtype="float32"),
    "a": np.linspace(2.0, 0.1, 8, dtype="float32"),
}
SOFT = kd.losses.SoftTargets(models.TEMPERATURE)


def heads(arrange, seed=1, names="ba"):
    """A model with a head for each name, in some structure."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.FEATURES,))
    made = {n: layers.Dense(models.CLASSES, name=n)(inputs) for n in names}
    return keras.Model(inputs, arrange(made))


def in_list(of):
    return [of["b"], of["a"]]


def in_tuple(of):
    return of["b"], of["a"]


def by_name(of):
    return {"b": of["b"], "a": of["a"]}


def nested(of):
    return {"x": [of["b"], of["a"]]}


def in_order_of_keys(of):
    return [of["a"], of["b"]]


def one(of):
    return of["b"]


def none(of):
    return None


# Another form than that of the outputs, in which Keras takes their losses.
OTHER = {in_list: by_name, by_name: in_order_of_keys, nested: in_list}
SHOWN = {nested: {"b": "x/b", "a": "x/a"}}


def tuples(part):
    """Lists as tuples: in a list TensorFlow stacks what a dataset yields."""
    if isinstance(part, list):
        return tuple(map(tuples, part))
    if isinstance(part, dict):
        return {key: tuples(value) for key, value in part.items()}
    return part


class Dataset(keras.utils.PyDataset):
    """One batch of nested arrays, without those that are None."""

    def __init__(self, *parts):
        super().__init__()
        found = [tuples(part) for part in parts if part is not None]
        self.parts = tuple(found)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.parts


def arrays(model, x, y, weights):
    return model.fit(x, y, sample_weight=weights, batch_size=8, verbose=0)


def a_dataset(model, x, y, weights):
    return model.fit(Dataset(x, y, weights), verbose=0)


def a_generator(model, x, y, weights):
    batch = Dataset(x, y, weights).parts
    return model.fit(
        (b for b in [batch]), steps_per_epoch=1, shuffle=False, verbose=0
    )


def logged(model, arrange, form, weigh, source, run_eagerly):
    """What a model logs that stays as it is."""
    losses = dict.fromkeys("ba", models.CROSSENTROPY)
    metrics = dict.fromkeys("ba", "accuracy")
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=form(losses),
        metrics=arrange(metrics),
        run_eagerly=run_eagerly,
    )
    history = source(model, X, arrange(LABELS), weigh(WEIGHTS)).history
    return {name: float(values[0]) for name, values in history.items()}


def logits_of(model, name):
    return backend.to_numpy(model.get_layer(name)(X))


def soft_losses(teacher, student, weigh):
    """The soft loss of each head, computed on its own."""
    found = {}
    for name in "ba":
        pair = [logits_of(model, name) for model in (teacher, student)]
        weight = {none: None, one: WEIGHTS["b"]}.get(weigh, WEIGHTS[name])
        found[name] = float(SOFT(*pair, weight))
    return found


def check(arrange, form, weigh, source, run_eagerly=False):
    """A Distiller logs what a plain student does, and its soft losses."""
    teacher, student = heads(arrange, 2), heads(arrange)
    how = arrange, form, weigh, source, run_eagerly
    plain = logged(heads(arrange), *how)
    model = kd.Distiller(
        teacher, student, SOFT, hard_loss_weight=0.3, soft_loss_weight=0.7
    )
    soft = soft_losses(teacher, student, weigh)
    total = sum(soft.values())
    shown = SHOWN.get(arrange, {})
    expected = {
        **plain,
        "hard_loss": plain["loss"],
        "soft_loss": total,
        "loss": 0.3 * plain["loss"] + 0.7 * total,
        **{f"{shown.get(n, n)}_soft_loss": soft[n] for n in soft},
    }
    logs = logged(model, *how)
    assert logs == {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()}


LIKE, ELSE = "like the outputs", "otherwise"
# Each pair of two of the four occurs once.
PAIRS = [
    (in_list, one, none, arrays),
    (in_list, LIKE, one, a_dataset),
    (in_list, ELSE, LIKE, a_generator),
    (by_name, one, one, a_generator),
    (by_name, LIKE, LIKE, arrays),
    (by_name, ELSE, none, a_dataset),
    (nested, one, LIKE, a_dataset),
    (nested, LIKE, none, a_generator),
    (nested, ELSE, one, arrays),
]


def resolved(arrange, form):
    return {LIKE: arrange, ELSE: OTHER[arrange]}.get(form, form)


def name_of(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize("arrange, form, weigh, source", PAIRS, ids=name_of)
def test_structures_are_taken_as_a_plain_model_takes_them(
    arrange, form, weigh, source
):
    check(arrange, resolved(arrange, form), resolved(arrange, weigh), source)


@pytest.mark.skipif(BACKEND != "jax", reason="the full product on one backend")
@pytest.mark.parametrize("weigh", [none, one, LIKE], ids=name_of)
@pytest.mark.parametrize("form", [one, LIKE, ELSE], ids=name_of)
@pytest.mark.parametrize("arrange", OTHER, ids=name_of)
def test_all_structures_of_arrays(arrange, form, weigh):
    how = resolved(arrange, form), resolved(arrange, weigh)
    check(arrange, *how, arrays, run_eagerly=True)


# Losses, weights and teachers for some of the outputs.


def distilled(losses, teacher=None, student=None, **weights):
    """A Distiller that compares with its teacher alone, and its logs."""
    teacher = teacher or heads(in_list, 2)
    student = student or heads(in_list)
    weights = {"hard_loss_weight": 0.0, "soft_loss_weight": 1.0, **weights}
    model = kd.Distiller(teacher, student, losses, **weights)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model, models.step(model, X)


def of(losses, **kwargs):
    """The soft losses of the two heads, from a Distiller's logs."""
    return distilled(losses, **kwargs)[1]


EXPECTED = soft_losses(heads(in_list, 2), heads(in_list), none)
TTM = kd.losses.TTM(3.0)
ONLY_A = [{"a": SOFT}, {"a": SOFT, "b": None}, [None, SOFT], (None, SOFT)]


FORMS = ["a name", "names", "list", "tuple"]


@pytest.mark.parametrize("losses", ONLY_A, ids=FORMS)
@pytest.mark.parametrize("teacher", ["ba", "a"])
def test_an_output_may_have_no_teacher(losses, teacher):
    def arrange(made):
        return [made[name] for name in teacher]

    logs = of(losses, teacher=heads(arrange, 2))
    if teacher == "a":  # Another initial value of the random kernel.
        logits = logits_of(heads(arrange, 2), "a")
        expected = float(SOFT(logits, logits_of(heads(in_list), "a")))
    else:
        expected = EXPECTED["a"]
    approx = pytest.approx(expected, rel=1e-5)
    assert logs == {"loss": approx, "soft_loss": approx}


@pytest.mark.parametrize(
    "losses", [{"a": SOFT, "b": TTM}, [TTM, SOFT], (TTM, SOFT)], ids=FORMS[1:]
)
def test_each_output_has_a_loss_and_a_weight_of_its_own(losses):
    like = {"a": 3.0, "b": 0.5} if isinstance(losses, dict) else [0.5, 3.0]
    if isinstance(losses, tuple):
        like = tuple(like)
    logs = of(losses, soft_loss_weight=like)
    pair = [logits_of(heads(in_list, seed), "b") for seed in (2, 1)]
    soft = {"b": float(TTM(*pair)), "a": EXPECTED["a"]}
    assert logs == {
        "loss": pytest.approx(0.5 * soft["b"] + 3 * soft["a"], rel=1e-5),
        "soft_loss": pytest.approx(soft["a"] + soft["b"], rel=1e-5),
        "a_soft_loss": pytest.approx(soft["a"], rel=1e-5),
        "b_soft_loss": pytest.approx(soft["b"], rel=1e-5),
    }


def test_one_loss_has_a_weight_for_each_output():
    logs = of(SOFT, soft_loss_weight={"a": 2.0, "b": 0.0})
    assert logs["loss"] == pytest.approx(2 * EXPECTED["a"], rel=1e-5)
    assert logs["soft_loss"] == pytest.approx(EXPECTED["a"], rel=1e-5)


def reversed_list(of):
    return [of["a"], of["b"]]


def renamed(arrange, seed):
    """A model whose heads have other names."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((models.FEATURES,))
    made = {n: layers.Dense(models.CLASSES)(inputs) for n in "ba"}
    return keras.Model(inputs, arrange(made))


TEACHERS = {
    "by name": (reversed_list, heads, in_list),
    "in order": (in_list, renamed, in_list),
    "keys to names": (by_name, heads, in_list),
    "names to keys": (reversed_list, heads, by_name),
    "the same structure": (nested, heads, nested),
}


@pytest.mark.parametrize("case", TEACHERS)
def test_a_teachers_outputs_go_by_name_or_in_order(case):
    theirs, make, ours = TEACHERS[case]
    logs = of(SOFT, teacher=make(theirs, 2), student=heads(ours))
    shown = SHOWN.get(ours, {})
    for name, value in EXPECTED.items():
        key = f"{shown.get(name, name)}_soft_loss"
        assert logs[key] == pytest.approx(value, rel=1e-5)


def test_attached_logits_go_by_name():
    student, teacher = heads(in_list), heads(by_name, 2)
    logits = keras.tree.map_structure(backend.to_numpy, teacher(X))
    model = kd.Distiller(None, student, SOFT)
    model.compile(keras.optimizers.SGD(0.0))
    x = kd.WithTeacherLogits(X, logits)
    logs = models.fit(model, x)
    assert logs["a_soft_loss"] == [pytest.approx(EXPECTED["a"], rel=1e-5)]


class Subclassed(keras.Model):
    """Outputs that are known from the first step on."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, inputs):
        return self.model(inputs)


def test_losses_tell_the_outputs_of_a_subclassed_student():
    student = Subclassed(heads(by_name))
    logs = of({"a": SOFT, "b": SOFT}, student=student)
    assert logs["b_soft_loss"] == pytest.approx(EXPECTED["b"], rel=1e-5)
    plain = of(SOFT, student=Subclassed(heads(by_name)))
    assert plain["loss"] == pytest.approx(logs["loss"], rel=1e-5)


def test_a_structure_may_be_replaced_within_a_fit():
    model, _ = distilled(SOFT)
    change = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda n, logs: setattr(
            model, "distillation_loss", [{"a": SOFT}, SOFT][n]
        )
    )
    model.compile(keras.optimizers.SGD(0.0))
    logs = models.fit(model, X, epochs=2, callbacks=[change])
    both = sum(EXPECTED.values())
    assert logs["soft_loss"] == pytest.approx([EXPECTED["a"], both], rel=1e-5)
    assert logs["a_soft_loss"] == [pytest.approx(EXPECTED["a"], rel=1e-5)]


def test_structures_are_read_only():
    model, _ = distilled({"a": SOFT}, soft_loss_weight={"a": 2.0})
    for structure in (model.distillation_loss, model.soft_loss_weight):
        with pytest.raises(TypeError, match="does not support item assign"):
            structure["a"] = None
    listed, _ = distilled([SOFT, None])
    assert listed.distillation_loss == (SOFT, None)


def test_structures_are_in_the_config():
    given = {"a": SOFT, "b": TTM}
    model, logs = distilled(given, soft_loss_weight={"a": 2.0, "b": 3.0})
    copy = kd.Distiller.from_config(model.get_config())
    copy.student.set_weights(model.student.get_weights())
    copy.teacher = model.teacher
    copy.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    assert models.step(copy, X) == pytest.approx(logs, rel=1e-6)


def test_losses_that_agree_have_their_weights_by_default():
    model = kd.Distiller(None, heads(in_list), [SOFT, None])
    assert (model.hard_loss_weight, model.soft_loss_weight) == (0.1, 0.9)


# Outputs as they are.


def test_values_are_compared_beside_classes():
    """Boxes beside classes: nothing about logits is asked of the boxes."""

    def detector(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((models.FEATURES,))
        box = layers.Dense(1, "sigmoid", name="box")(inputs)
        kind = layers.Dense(models.CLASSES, name="kind")(inputs)
        return keras.Model(inputs, {"box": box, "kind": kind})

    teacher, student = detector(2), detector(1)
    square = keras.losses.MeanSquaredError()
    losses = {"box": square, "kind": SOFT}
    model = kd.Distiller(
        teacher, student, losses, hard_loss_weight=1.0, soft_loss_weight=0.5
    )
    compiled = {"box": "mse", "kind": models.CROSSENTROPY}
    model.compile(keras.optimizers.SGD(0.0), loss=compiled)
    logs = models.fit(model, X, {"box": X[:, :1], "kind": Y})
    theirs, ours = models.logits(teacher, X), models.logits(student, X)
    box = float(square(theirs["box"], ours["box"]))
    assert logs["box_soft_loss"] == [pytest.approx(box, rel=1e-5)]
    kind = float(SOFT(theirs["kind"], ours["kind"]))
    assert logs["kind_soft_loss"] == [pytest.approx(kind, rel=1e-5)]


# What is refused.

BOTH = r"the 2 outputs \['b', 'a'\]"
REFUSED = {
    "an unknown name": (
        lambda: distilled({"c": SOFT}),
        rf"`distillation_loss` must go with.*keys \['c'\].*{BOTH}",
    ),
    "too few": (
        lambda: distilled([SOFT]),
        r"`distillation_loss` must go with.*a list of 1",
    ),
    "a name beside an unknown one": (
        lambda: distilled({"a": SOFT, "c": SOFT}),
        r"by name, without those that have none, or",
    ),
    "a list for a dict": (
        lambda: distilled([SOFT, SOFT], student=heads(by_name)),
        "in a list where the outputs are in one",
    ),
    "no loss at all": (
        lambda: distilled([None, None]),
        "distillation_loss=None",
    ),
    "weights of other outputs": (
        lambda: distilled({"a": SOFT}, soft_loss_weight={"b": 1.0}),
        "`soft_loss_weight` must be one number, or a structure like",
    ),
    "weights that disagree": (
        lambda: kd.Distiller(None, heads(in_list), [SOFT, TTM]),
        "different weights by default.*Pass hard_loss_weight, and soft_loss",
    ),
    "weights of zero": (
        lambda: distilled({"a": SOFT}, soft_loss_weight={"a": 0.0}),
        "must not both be 0",
    ),
    "a negative weight": (
        lambda: distilled({"a": SOFT}, soft_loss_weight={"a": -1.0}),
        "`soft_loss_weight` must not be negative",
    ),
    "another dict": (
        lambda: distilled(
            SOFT, teacher=heads(by_name, 2), student=heads(other_keys)
        ),
        r"a teacher with the 2 outputs \['a', 'b'\], for the 2.*'p', 'q'",
    ),
    "other classes": (
        lambda: distilled(SOFT, student=heads(wide)),
        r"outputs of the same shape.*\(None, 3\).*\(None, 6\)",
    ),
}


def other_keys(of):
    return {"p": of["b"], "q": of["a"]}


def wide(of):
    return [of["b"], layers.Concatenate(name="a2")([of["a"], of["a"]])]


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    make, text = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=text):
        make()


def test_a_refused_structure_changes_nothing():
    model, logs = distilled(SOFT)
    with pytest.raises(ValueError, match="must go with the outputs"):
        model.distillation_loss = {"c": SOFT}
    assert model.distillation_loss is SOFT
    assert models.step(model, X) == pytest.approx(logs, rel=1e-6)
