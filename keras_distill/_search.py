"""What a search may be given: losses, ranges, and what `compile` takes."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_distill import _compiled, _kinds, _validation, losses
from keras_distill._keras import graph

_COMPILE = inspect.signature(keras.Model.compile).parameters
_CALLABLE = (keras.Model, keras.losses.Loss)  # Not with an hp, though.
_STATEFUL = (keras.optimizers.Optimizer, keras.metrics.Metric)

Range = float | tuple[float, float] | list[float]
Losses = Sequence[str] | dict[str, Callable[[Any], keras.losses.Loss]]


def has_temperature(loss: Callable) -> bool:
    return "temperature" in inspect.signature(loss).parameters


def _needs(loss: Callable) -> set[str]:
    parameters = inspect.signature(loss).parameters.items()
    return {name for name, p in parameters if p.default is p.empty}


def built_in() -> dict[str, Any]:
    """The classes of `kd.losses` between classes that exclude each other, those
    that need no more than a temperature, first those that have one."""
    public = [v for k, v in vars(losses).items() if k in losses.__all__]
    classes = [value for value in public if inspect.isclass(value)]
    losses_of_ours = [c for c in classes if issubclass(c, keras.losses.Loss)]
    of_classes = [
        cls for cls in losses_of_ours if _kinds.compares(cls) == _kinds.CLASSES
    ]
    found = [cls for cls in of_classes if _needs(cls) <= {"temperature"}]
    found.sort(key=has_temperature, reverse=True)
    return {cls.__name__: cls for cls in found}


def by_default(known: dict[str, Any]) -> tuple[str, ...]:
    """Names of the losses that say that a search tries them unasked."""
    return tuple(
        name for name, cls in known.items() if getattr(cls, "searched", False)
    )


BUILT_IN = built_in()
BY_DEFAULT = by_default(BUILT_IN)
TEMPERATURE = (1.0, 20.0)
# The weight of a loss that shares 1 with the labels, and beside labels of 1.
SHARE, BESIDE_ONE = (0.1, 1.0), (0.1, 100.0)


def check_teacher(teacher: Any, losses: Any) -> None:
    _validation.is_model("teacher", teacher)
    if not isinstance(losses, dict):  # What functions make, a trial checks.
        graph.require_logits("teacher", teacher)
    if not teacher.built:
        raise ValueError(
            "`teacher` must be built. Received: the model "
            f"{teacher.name!r}, which has no weights yet. Train it, or call it "
            "on a batch if it holds trained models."
        )


def check_function(name: str, value: Any, returned: str) -> None:
    if not callable(value) or isinstance(value, _CALLABLE):
        raise TypeError(
            f"`{name}` must be a function of hp that returns a new {returned}. "
            f"Received: {name}={value!r} of type {type(value).__name__}."
        )


def checked_losses(losses: Any, temperature: Range) -> Any:
    """Returns a list of names, or a dict of functions."""
    if isinstance(losses, dict):
        return _checked_functions(losses, temperature)
    known = isinstance(losses, list | tuple) and all(
        isinstance(name, str) and name in BUILT_IN for name in losses
    )
    if not known or not losses or len(set(losses)) < len(losses):
        raise ValueError(
            "`losses` must be a list of different names out of "
            f"{tuple(BUILT_IN)}, or a dict from names to functions of hp. "
            f"Received: losses={losses!r}."
        )
    return list(losses)


def _checked_functions(losses: dict, temperature: Range) -> dict:
    if not losses or not all(isinstance(name, str) for name in losses):
        raise ValueError(
            "`losses` must be a dict from one or more strings to functions of "
            f"hp. Received: losses={losses!r}."
        )
    for name, make in losses.items():
        check_function(f"losses[{name!r}]", make, "keras.losses.Loss")
    if temperature != TEMPERATURE:
        raise ValueError(
            "`temperature` is that of losses given by name. Received: "
            f"temperature={temperature!r} and a dict of losses. Declare the "
            'temperature in its functions: hp.Float("temperature", 1, 20).'
        )
    return dict(losses)


def checked_range(
    name: str, value: Any, checked: Callable[[str, Any], float]
) -> Range:
    """Returns a number, a pair of numbers in ascending order, or a list."""
    if isinstance(value, list):
        return _checked_choices(name, value, checked)
    if not isinstance(value, tuple):
        return checked(name, value)
    if len(value) != 2:
        raise ValueError(
            f"`{name}` must be a pair (low, high), a list of values, or a "
            f"number. Received: {name}={value!r}."
        )
    low, high = (checked(name, bound) for bound in value)
    if low >= high:
        raise ValueError(
            f"`{name}` must start below its end. Received: {name}={value!r}. "
            f"Pass (low, high), or a number to fix the {name}."
        )
    return low, high


def _checked_choices(
    name: str, values: list, checked: Callable[[str, Any], float]
) -> list[float]:
    found = [checked(name, value) for value in values]
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"`{name}` must be a list of one or more different values. "
            f"Received: {name}={values!r}."
        )
    return found


def checked_loss_weights(
    hard: Any, soft: Any, losses: list[str] | dict
) -> tuple[float | None, Range]:
    """Returns both weights; those left out follow from what the losses are."""
    beside = isinstance(losses, list) and all(map(_labels_weigh_one, losses))
    if hard is None and soft is None and beside:
        hard = 1.0
    if soft is None:
        soft = BESIDE_ONE if beside and hard else SHARE
    soft = checked_range("soft_loss_weight", soft, _validation.weight)
    return _checked_hard_loss_weight(hard, soft), soft


def _labels_weigh_one(name: str) -> bool:
    """Whether a Distiller gives them that weight beside the loss."""
    cls = BUILT_IN[name]
    numbers = {"temperature": 1.0} if has_temperature(cls) else {}
    loss = cls(name=name, **numbers)
    return getattr(loss, "default_weights", (1.0, 1.0))[0] == 1


def _checked_hard_loss_weight(value: Any, soft: Range) -> float | None:
    low, high = bounds(soft)
    if value is None and high > 1:
        raise ValueError(
            "`soft_loss_weight` must not exceed 1, because the hard loss gets "
            f"the weight 1 - soft_loss_weight. Received: soft_loss_weight="
            f"{soft}. Pass hard_loss_weight=1.0 to weight the two apart."
        )
    if value is None:
        return None
    hard = _validation.weight("hard_loss_weight", value)
    if hard == low == 0:
        raise ValueError(
            "`hard_loss_weight` and `soft_loss_weight` must not both be 0. "
            f"Received: hard_loss_weight=0 and soft_loss_weight={soft}. Pass a "
            "soft_loss_weight above 0."
        )
    return hard


def bounds(value: Range) -> tuple[float, float]:
    """The lowest and the highest that are tried."""
    values = value if isinstance(value, tuple | list) else [value]
    return min(values), max(values)


def check_settings(settings: Any) -> None:
    if not isinstance(settings, dict):
        raise TypeError(
            "`compile` must be a dict, or a function that returns one. "
            f"Received: {settings!r} of type {type(settings).__name__}."
        )
    unknown = set(settings) - set(_COMPILE)
    if unknown:
        raise ValueError(
            "`compile` must hold arguments of keras.Model.compile. Received: "
            f"{sorted(unknown)}. Expected some of {list(_COMPILE)[1:]}."
        )


def check_compiled(settings: dict, losses: Any, teacher: Any) -> None:
    """Refuses what fits no loss of a search, before the first trial.

    Losses that functions make are known, and checked, when a trial starts.
    """
    if isinstance(losses, dict):
        return
    metrics = [settings.get("metrics"), settings.get("weighted_metrics")]
    kinds = {_kinds.compares(loss): loss for loss in map(BUILT_IN.get, losses)}
    for loss in kinds.values():
        outputs = _compiled.outputs_of(teacher, [loss])
        _compiled.check(settings.get("loss"), metrics, outputs)


def copied(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings, with Keras objects made anew from their configs."""
    return keras.tree.map_structure(_copy, settings)


def _copy(value: Any) -> Any:
    if not isinstance(value, _STATEFUL):
        return value
    try:
        return type(value).from_config(value.get_config())
    except Exception as error:
        raise ValueError(
            "`compile` must hold what can be copied from its config, since "
            f"trials must not share it. Received: a {type(value).__name__}; "
            f"{error}. Pass a function of hp that returns a new dict each time."
        ) from error
