"""Bad input: each is refused with what was received and how to fix it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd

# Keras on torch converts tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
NAN, INF = float("nan"), float("inf")
SOFT = kd.losses.SoftTargets(2.0)
LOGITS = [[1.0, 2.0]]
T = kd.transforms


def model(classes=3, activation=None, shape=(4,)):
    dense = layers.Dense(classes, activation=activation)
    return keras.Sequential([keras.Input(shape), dense])


def ending(*stack):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), *stack])


def functional(head):
    inputs = keras.Input((4,))
    return keras.Model(inputs, head(layers.Dense(3)(inputs)))


def nested_softmax():
    return keras.Sequential([keras.Input((4,)), model(3, "softmax")])


def unbuilt(activation=None):
    return keras.Sequential([layers.Dense(3, activation=activation)])


def distiller(teacher=None, student=None, loss=SOFT, **kwargs):
    teacher = model() if teacher is None else teacher
    return kd.Distiller(teacher, student or model(), loss, **kwargs)


def fidelity(teacher=None, student=None, dataset=None):
    dataset = (np.ones((2, 4)), [0, 1]) if dataset is None else dataset
    models = [teacher or model(), student or model()]
    return kd.evaluate_fidelity(*models, dataset, verbose=0)


# One row: id, call, error, and what its message must contain: the argument,
# what was received, and the fix.
CASES = []


def case(name, call, error, *message):
    CASES.append(pytest.param(call, error, message, id=name))


ABOVE_0 = "Pass a number above 0"
for value, shown, error in [
    (0, "temperature=0", ValueError),
    (-1.5, "temperature=-1.5", ValueError),
    (NAN, "temperature=nan", ValueError),
    (INF, "temperature=inf", ValueError),
    ("4", "temperature='4'", TypeError),
    (None, "temperature=None", TypeError),
    (True, "temperature=True", TypeError),
    ([1.0], "temperature=[1.0]", TypeError),
]:
    for cls in (kd.losses.SoftTargets, kd.losses.TTM, kd.losses.WTTM):
        case(
            f"{cls.__name__} {shown}",
            lambda cls=cls, value=value: cls(value),
            error,
            *("`temperature`", shown, ABOVE_0),
        )
    for loss in (kd.losses.soft_targets, kd.losses.ttm, kd.losses.wttm):
        case(
            f"{loss.__name__} {shown}",
            lambda f=loss, value=value: f(LOGITS, LOGITS, value),
            error,
            *("`temperature`", shown, ABOVE_0),
        )
    for function in (T.log_probabilities, T.power_transform, T.power_sum):
        case(
            f"{function.__name__} {shown}",
            lambda f=function, value=value: f(LOGITS, value),
            error,
            *("`temperature`", shown, ABOVE_0),
        )

for value, error in [
    (-1, ValueError),
    (NAN, ValueError),
    (INF, ValueError),
    ("1", TypeError),
    (None, TypeError),
    (True, TypeError),
]:
    case(
        f"order {value!r}",
        lambda value=value: T.renyi_entropy(LOGITS, value),
        error,
        *("`order`", f"order={value!r}", "Pass"),
    )
    for name in ("hard_loss_weight", "soft_loss_weight"):
        case(
            f"{name} {value!r}",
            # Set, because for a new Distiller None is what its loss declares.
            lambda name=name, value=value: setattr(distiller(), name, value),
            error,
            *(f"`{name}`", f"{name}={value!r}", "Pass 0"),
        )
case(
    "both weights 0",
    lambda: distiller(hard_loss_weight=0, soft_loss_weight=0.0),
    ValueError,
    *("hard_loss_weight", "soft_loss_weight", "0 and 0", "nothing to train"),
)

BOTH = [
    "`teacher_logits` and `student_logits`",
    "the same classes, in the same order",
]
NO_CLASSES = ["logits`", "shape=()", "(..., classes)"]
for loss in (
    lambda v, z: kd.losses.soft_targets(v, z, 1.0),
    kd.losses.logit_matching,
    lambda v, z: kd.losses.ttm(v, z, 1.0),
    lambda v, z: kd.losses.wttm(v, z, 1.0),
    SOFT,
):
    for v, z, shapes in [
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], ["(1, 2)", "(1, 3)"]),
        ([[1.0, 2.0]], [[1.0, 2.0]] * 2, ["(1, 2)", "(2, 2)"]),
        ([[1.0, 2.0]], [[[1.0, 2.0]]], ["(1, 2)", "(1, 1, 2)"]),
    ]:
        case(
            f"logits {shapes}",
            lambda f=loss, v=v, z=z: f(v, z),
            ValueError,
            *(*BOTH, *shapes),
        )
    case("logits ()", lambda f=loss: f(1.0, 2.0), ValueError, *NO_CLASSES)
for function in (T.log_probabilities, T.power_sum, T.renyi_entropy):
    case(
        f"{function.__name__} of a number",
        lambda f=function: f(1.0, 2.0),
        ValueError,
        *NO_CLASSES,
    )

# What is no model.
for value, shown, fix in [
    (layers.Dense(3), "<Dense", "Wrap functions and layers"),
    (lambda x: x, "<function", "Wrap functions and layers"),
    ("model.keras", "'model.keras'", "keras.Model"),
    (keras.Sequential, "Sequential", "Pass an instance, not the class"),
]:
    for name, call in {
        "teacher": lambda v: distiller(teacher=v),
        "student": lambda v: distiller(student=v),
        "fidelity's teacher": lambda v: fidelity(teacher=v),
        "fidelity's student": lambda v: fidelity(student=v),
        "model": kd.as_logits,
        "members[1]": lambda v: kd.Ensemble([model(), v]),
    }.items():
        case(
            f"{name} {shown}",
            lambda call=call, value=value: call(value),
            TypeError,
            *(f"`{name.split()[-1]}`", shown, fix),
        )
for name, call in {
    "student": lambda: kd.Distiller(model(), None, SOFT),
    "teacher": lambda: kd.evaluate_fidelity(None, model(), (LOGITS,)),
    "model": lambda: kd.as_logits(None),
    "members[0]": lambda: kd.Ensemble([None]),
}.items():
    case(f"{name} None", call, TypeError, f"`{name}`", "None", "keras.Model")

# What ends in probabilities.
for head, make in {
    "dense": lambda: model(3, "softmax"),
    "layer": lambda: ending(layers.Softmax()),
    "activation": lambda: ending(layers.Activation("softmax", dtype="float32")),
    "operation": lambda: functional(ops.softmax),
    "nested": nested_softmax,
    "reshape": lambda: ending(layers.Softmax(), layers.Reshape((3,))),
    "time": lambda: ending(
        layers.Reshape((1, 3)), layers.TimeDistributed(layers.Softmax())
    ),
    "unbuilt": lambda: unbuilt("softmax"),
    "dense sigmoid": lambda: model(3, "sigmoid"),
    "one sigmoid": lambda: model(1, "sigmoid"),
    "activation sigmoid": lambda: ending(layers.Activation("sigmoid")),
    "operation sigmoid": lambda: functional(ops.sigmoid),
}.items():
    sigmoid = "sigmoid" in head
    for name, call in {
        "teacher": lambda m: distiller(teacher=m),
        "student": lambda m: distiller(student=m),
        "members[0]": lambda m: kd.Ensemble([m]),
        "fidelity's student": lambda m: fidelity(student=m),
    }.items():
        short = name.split()[-1]
        fix = "one unit per class" if sigmoid else f"kd.as_logits({short})"
        case(
            f"{name} {head}",
            lambda call=call, make=make: call(make()),
            ValueError,
            *(f"`{short}`", "sigmoid" if sigmoid else "softmax", fix),
        )


@pytest.mark.parametrize(("call", "error", "message"), CASES)
def test_is_refused(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) in (ValueError, TypeError)
    for part in message:
        assert part in str(raised.value)
