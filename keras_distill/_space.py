"""The hyperparameters of a search, and what they are in one trial."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from keras_distill import _search


def distillation_loss(
    hp: Any, losses: Any, temperature: _search.Range
) -> keras.losses.Loss:
    """The loss of a trial, of losses as `_search.checked_losses` gives them."""
    name = _declare(hp, "distillation_loss", list(losses))
    if isinstance(losses, dict):
        return _loss_of_function(hp, name, losses)
    tempered = [
        n for n in losses if _search.has_temperature(_search.BUILT_IN[n])
    ]
    value = None
    if tempered:
        with _only_with(hp, tempered, losses):
            value = _declare(hp, "temperature", temperature, sampling="log")
    options = {"temperature": value} if name in tempered else {}
    return _search.BUILT_IN[name](**options)


def loss_weights(
    hp: Any, hard: float | None, soft: _search.Range
) -> tuple[float, float]:
    """The weights of the compiled and of the distillation loss."""
    log = hard is not None and _search.bounds(soft)[0] > 0
    sampling = "log" if log else "linear"
    weight = _declare(hp, "soft_loss_weight", soft, sampling=sampling)
    return 1 - weight if hard is None else hard, weight


def _loss_of_function(
    hp: Any, chosen: str, losses: dict[str, Callable]
) -> keras.losses.Loss:
    for name, make in losses.items():
        # A scope that is not entered is one that no tuner learns of.
        with _only_with(hp, [name], losses):
            if name == chosen:
                loss = make(hp)
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            f"`losses[{chosen!r}](hp)` must be a keras.losses.Loss. Received: "
            f"{loss!r} of type {type(loss).__name__}."
        )
    return loss


def _only_with(hp: Any, names: list[str], losses: Any) -> Any:
    """Context of hyperparameters that only some of the losses have."""
    if len(names) == len(losses):
        return contextlib.nullcontext()
    return hp.conditional_scope("distillation_loss", names)


def _declare(hp: Any, name: str, space: Any, **options: Any) -> Any:
    """Adds a hyperparameter, and returns its value, None where inactive.

    A pair of numbers is a range, a list is what to choose from.
    """
    if isinstance(space, tuple):
        return hp.Float(name, *space, **options)
    if isinstance(space, list) and len(space) > 1:
        return hp.Choice(name, space)
    return hp.Fixed(name, space[0] if isinstance(space, list) else space)
