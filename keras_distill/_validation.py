"""Checks shared by several modules: received, expected, how to fix it."""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import keras

from keras_distill._keras.layers import all_layers, own_variables, sublayers


def finite_number(name: str, value: Any, fix: str) -> float:
    """Returns `value` as a float, or refuses what is no finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"`{name}` must be a real number. Received: {name}={value!r} of "
            f"type {type(value).__name__}. {fix}"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(
            f"`{name}` must be finite. Received: {name}={value!r}. {fix}"
        )
    return number


def temperature(value: Any) -> float:
    """Returns a temperature as a float greater than zero."""
    fix = "Pass a number above 0: 1 leaves the teacher as it is, 2 to 20 is "
    fix += "usual for distillation."
    number = finite_number("temperature", value, fix)
    if number <= 0:
        raise ValueError(
            "`temperature` must be greater than 0. Received: "
            f"temperature={value!r}. {fix}"
        )
    return number


def temperature_of(logits: Any, value: Any) -> Any:
    """Returns a temperature by which logits can be divided."""
    return number_of(
        logits, "temperature", value, lambda _, number: temperature(number)
    )


def number_of(
    logits: Any, name: str, value: Any, check: Callable[[str, Any], float]
) -> Any:
    """Returns a number that can be multiplied with logits, checked.

    A step has it as a scalar tensor, whose value only its setter could check.
    """
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        raise TypeError(
            f"A scheduled `{name}` has a value only in the steps of a "
            f"kd.Distiller. Received: {name}={value!r}. Pass a number or a "
            "scalar tensor, such as schedule(step); to call a loss on its own, "
            f"set its {name} to a number."
        )
    if not keras.ops.is_tensor(value):
        return check(name, value)
    if len(value.shape) > 0:
        raise ValueError(
            f"`{name}` must be one number. Received: a tensor of shape "
            f"{tuple(value.shape)}. Pass a number or a scalar tensor."
        )
    return keras.ops.cast(value, logits.dtype)


def weight(name: str, value: Any) -> float:
    """Returns the weight of a loss term as a float of at least zero."""
    return at_least_zero(
        name, value, f"Pass 0 to switch the term off, or a positive {name}."
    )


def at_least_zero(name: str, value: Any, fix: str) -> float:
    """Returns `value` as a float, or refuses what is below zero."""
    number = finite_number(name, value, fix)
    if number < 0:
        raise ValueError(
            f"`{name}` must not be negative. Received: {name}={value!r}. {fix}"
        )
    return number


_SAME_CLASSES = (
    "Give both models the same classes, in the same order; "
    "kd.select_classes(teacher, indices) takes some of a teacher's."
)


def not_scalar(logits: Any) -> None:
    """Refuses logits without a class axis."""
    if len(logits.shape) == 0:
        raise ValueError(
            "`logits` must have the shape (..., classes). Received: "
            "logits.shape=(). Pass at least the logits of one example."
        )


def same_shape(teacher: Sequence, student: Sequence) -> None:
    """Refuses shapes of logits that differ, as far as they are known."""
    agree = len(teacher) == len(student) and all(
        t == s or t is None or s is None
        for t, s in zip(teacher, student, strict=False)
    )
    if not agree or len(teacher) == 0:
        raise ValueError(
            "`teacher_logits` and `student_logits` must have the same shape "
            f"(..., classes). Received: teacher_logits.shape={tuple(teacher)}, "
            f"student_logits.shape={tuple(student)}. {_SAME_CLASSES}"
        )


def is_model(name: str, value: Any) -> None:
    """Refuses anything that is not a `keras.Model`."""
    if not isinstance(value, keras.Model):
        raise TypeError(
            f"`{name}` must be a keras.Model. Received: {name}={value!r} of "
            f"type {type(value).__name__}. {_hint(name, value)}"
        )


def is_built(name: str, model: keras.Model) -> None:
    """Refuses a model whose variables a step on JAX would have to make."""
    if not model.built:
        raise ValueError(
            f"`{name}` must be built where it is set while `fit` runs. "
            f"Received: {name}={model.name!r}, which has no variables yet. "
            "Call it once on a batch of data first, or set it before `fit`."
        )


def _hint(name: str, value: Any) -> str:
    if isinstance(value, type):
        return "Pass an instance, not the class."
    if name == "teacher" and are_models(value):
        return "Make one teacher of several models with kd.Ensemble(models)."
    return "Wrap functions and layers in a keras.Model."


def are_models(value: Any) -> bool:
    """Whether it is a list of models where one is wanted."""
    several = isinstance(value, list | tuple) and len(value) > 0
    return several and all(isinstance(item, keras.Model) for item in value)


def one_output(name: str, model: keras.Model) -> None:
    """Refuses a model that is known to have several outputs."""
    count = len(getattr(model, "outputs", None) or [None])
    if count > 1:
        raise ValueError(
            f"`{name}` must have one output. Received: {count} outputs. Make "
            "one model per output first, for example "
            "keras.Model(model.inputs, model.outputs[0])."
        )


def bare_output(name: str, model: keras.Model) -> None:
    """Refuses several outputs, and one that is known to lie in a structure."""
    one_output(name, model)
    outputs = getattr(model, "outputs", None)
    single = isinstance(model, keras.Sequential)
    if outputs and not single and keras.tree.is_nested(model.output):
        raise ValueError(
            f"`{name}` must have one output by itself. Received: one in a "
            f"{type(model.output).__name__}. Pass "
            "keras.Model(model.inputs, model.outputs[0]), which shares its "
            "layers."
        )


def same_outputs(models: Iterable[tuple[str, keras.Model]]) -> None:
    """Refuses models of one output whose known shapes differ."""
    known = [
        (name, model.outputs[0].shape)
        for name, model in models
        if getattr(model, "outputs", None)
    ]
    for name, shape in known[1:]:
        same_output(*known[0], name, shape)


def same_output(first: str, shape: tuple, name: str, other: tuple) -> None:
    """Refuses the outputs of two models whose static shapes differ."""
    agree = len(shape) == len(other) and all(
        x == y or x is None or y is None
        for x, y in zip(shape, other, strict=True)
    )
    if not agree:
        raise ValueError(
            f"`{first}` and `{name}` must have outputs of the same "
            f"shape. Received: {first} output shape {tuple(shape)}, {name} "
            f"output shape {tuple(other)}. {_SAME_CLASSES}"
        )


def distillation_loss(loss: Any) -> None:
    """Refuses what is no reduced loss."""
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            "`distillation_loss` must be a keras.losses.Loss instance. "
            f"Received: distillation_loss={loss!r}. Pass an object, for "
            "example kd.losses.SoftTargets(temperature=4.0) for logits, or "
            "keras.losses.MeanSquaredError() for values."
        )
    if loss.reduction in (None, "none"):
        raise ValueError(
            "`distillation_loss` must reduce to one number. Received: "
            f"reduction={loss.reduction!r}. Leave the reduction at "
            "'sum_over_batch_size'."
        )


def not_shared(teacher: keras.Model, student: keras.Model) -> None:
    """Refuses a teacher that training the student would change."""
    if teacher is student:
        raise ValueError(
            "`teacher` and `student` must be two models. Received: the same "
            f"model {teacher.name!r} twice. Make the second with "
            "keras.models.clone_model and set its weights."
        )
    teachers = {id(layer) for layer in all_layers(teacher)}
    teachers |= {id(variable) for variable in teacher.variables}
    shared = [
        layer.name
        for layer in all_layers(student)
        if _owns_trainable_state(layer)
        and teachers & {id(layer), *map(id, own_variables(layer))}
    ]
    if shared:
        raise ValueError(
            "`teacher` and `student` must not share layers that are trained: "
            f"training the student would change the teacher. Received: shared "
            f"layers {shared}. Copy them with keras.models.clone_model, or set "
            "trainable=False on them."
        )


def _owns_trainable_state(layer: Any) -> bool:
    """Whether training may change it: weights, moving averages, seeds."""
    own = own_variables(layer)
    unbuilt = not layer.built and not sublayers(layer)
    if hasattr(layer, "adapt"):  # Which alone sets what is no weight.
        own = [variable for variable in own if variable.trainable]
        unbuilt = False  # The lookup in a TextVectorization always is.
    return layer.trainable and (unbuilt or bool(own))


def is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(
    name: str,
    value: Any,
    low: int,
    high: int | None = None,
    fix: str = "Leave it out for the default.",
) -> None:
    """Refuses what is no whole number from `low` to `high`, if there is one."""
    if is_whole(value) and low <= value and (high is None or value <= high):
        return
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise ValueError(
        f"`{name}` must be a whole number {limits}. Received: {name}="
        f"{value!r}. {fix}"
    )


def count(name: str, value: Any) -> None:
    """Refuses what is no whole number of at least 1."""
    whole(name, value, 1)


def worker(number: Any, workers: Any) -> None:
    """Refuses a worker that is not one of 0 to `workers - 1`."""
    count("num_workers", workers)
    fix = f"The workers of num_workers={workers} are counted from 0."
    whole("worker", number, 0, workers - 1, fix)
