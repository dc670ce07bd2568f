"""What a Distiller optimises: the terms, and the numbers in them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_distill import _features, _kinds, _schedules, _validation
from keras_distill._keras import numbers
from keras_distill._keras.sample_weights import per_position
from keras_distill._objective import _labels, _outputs, _void
from keras_distill._objective._whole_batches import require_whole_batch

Tensor = Any


class Targets(NamedTuple):
    """What a training step compares the student with, and how."""

    labels: Any
    teacher: list[_outputs.Output] | None
    numbers: dict[str, Any]
    features: list | None = None


class Term(NamedTuple):
    """A distillation loss and its weight, of one output or of all."""

    loss: keras.losses.Loss
    weight: Any


class SoftLoss(NamedTuple):
    """What a term gave for one output."""

    output: str
    value: Tensor
    weight: Any


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses of a Distiller and their weights, checked.

    Attributes:
        distillation_loss: A loss, or a structure of losses and None.
        hard_loss_weight: A number, or a schedule as everywhere here.
        soft_loss_weight: A number, or a structure of numbers and None.
        terms: What the two come to.
        places: The number of the term of each entry of the structure, None
            for an entry without; 0 where there is no structure.
        features: What is compared beside outputs.
        key: Another one with every new distillation loss.
    """

    distillation_loss: Any
    hard_loss_weight: Any
    soft_loss_weight: Any
    terms: tuple[Term, ...]
    places: Any
    features: tuple[_features.Feature, ...] = ()
    key: object = dataclasses.field(default_factory=object)

    def replaced(self, **changes: Any) -> "Objective":
        given = ("distillation_loss", "hard_loss_weight", "soft_loss_weight")
        terms = {name: getattr(self, name) for name in (*given, "features")}
        new = objective(**terms | changes)
        same = "distillation_loss" not in changes
        return dataclasses.replace(new, key=self.key) if same else new

    @property
    def computed(self) -> tuple[bool, ...]:
        """Which terms are: a step is traced for these alone."""
        weights = self.hard_loss_weight, *(t.weight for t in self.terms)
        return tuple(w != 0 for w in weights)

    @property
    def has_soft_loss(self) -> bool:
        return any(self.computed[1:])

    @property
    def computed_features(self) -> tuple[bool, ...]:
        """Which feature losses are; their weights may be set unnoticed."""
        return tuple(feature.weight != 0 for feature in self.features)

    @property
    def has_features(self) -> bool:
        return any(self.computed_features)

    @property
    def kind(self) -> str:
        """What all losses compare; plain values where they differ."""
        kinds = {_kinds.compares(term.loss) for term in self.terms}
        return kinds.pop() if len(kinds) == 1 else _kinds.VALUES

    @property
    def takes_top_k(self) -> bool:
        """Whether the distillation losses that are computed do."""
        on = zip(self.computed[1:], self.terms, strict=True)
        return all(_takes_top_k(t.loss) for computed, t in on if computed)

    @property
    def uses_labels(self) -> bool:
        """Whether a distillation loss that is computed does."""
        on = zip(self.computed[1:], self.terms, strict=True)
        return any(computed and _uses_labels(t.loss) for computed, t in on)

    def numbers(self) -> dict[str, Any]:
        """What a step reads anew each time; a loss says what it has."""
        lowest = _schedules.LOWEST_WEIGHT
        weights = [term.weight for term in self.terms]
        return {
            "hard": _schedules.number(self.hard_loss_weight, lowest),
            "soft": [_schedules.number(w, lowest) for w in weights],
            "losses": [_schedules.numbers_of(term.loss) for term in self.terms],
            "features": [feature.numbers_now() for feature in self.features],
        }

    def term_of_each(self, outputs: Sequence[_outputs.Output]) -> list:
        """The number of the term of each output, None if it has none."""
        return _outputs.of_each("distillation_loss", self.places, outputs)

    def soft_losses(
        self,
        targets: Targets,
        outputs: Sequence[_outputs.Output],
        sample_weight: Any,
        compiled: Any = None,
    ) -> list[SoftLoss]:
        """The distillation loss of each output that has one.

        Args:
            targets: Labels, the teacher's outputs, and numbers.
            outputs: The student's.
            sample_weight: None, or weights in any structure.
            compiled: The loss that `compile` got, which may tell a void label.
        """
        terms = self.term_of_each(outputs)
        wanted = [i for i, term in enumerate(terms) if term is not None]
        teacher = _outputs.of_teacher(targets.teacher or (), outputs, wanted)
        weights = _outputs.of_each("sample_weight", sample_weight, outputs)
        if self.uses_labels:
            labels = _void.labels_of_each(targets.labels, compiled, outputs)
        found = []
        for i, target in zip(wanted, teacher, strict=True):
            if not self.computed[1:][terms[i]]:
                continue
            student = outputs[i].tensor
            weight = per_position(weights[i], student)
            loss = self._loss(terms[i], targets.numbers)
            if _uses_labels(loss):
                own, weight = _labels.without_void(*labels[i], weight, student)
                loss = _labels.with_labels(loss, own)
            require_whole_batch(self.terms[terms[i]].loss, student, weight)
            value = loss(target.tensor, student, weight)
            name = _outputs.label_of(i, outputs[i])
            weight = targets.numbers["soft"][terms[i]]
            found.append(SoftLoss(name, value, weight))
        return found

    def _loss(self, term: int, found: dict) -> keras.losses.Loss:
        return numbers.having(self.terms[term].loss, found["losses"][term])


def _takes_top_k(loss: Any) -> bool:
    return bool(getattr(loss, "takes_top_k", False))


def _uses_labels(loss: Any) -> bool:
    return bool(getattr(loss, "uses_labels", False))


def given_or_declared(losses: Any, hard: Any, soft: Any) -> tuple[Any, Any]:
    """Weights, where they are None those that the losses declare, or 1."""
    declared = {_declared(loss) for loss in _checked_losses(losses)}
    if soft is None and any(weight is None for _, weight in declared):
        raise ValueError(
            "A distillation loss has no default weight where its temperature "
            "is scheduled, or where it has an `example_weight`. Received: "
            "soft_loss_weight=None. Pass soft_loss_weight, a number or a "
            "schedule."
        )
    if len(declared) > 1 and (hard is None or soft is None):
        raise ValueError(
            "The distillation losses have different weights by default. "
            f"Received: (hard, soft) {sorted(declared, key=str)}. Pass "
            "hard_loss_weight, and soft_loss_weight as one number or as a "
            "structure like distillation_loss."
        )
    default = next(iter(declared))
    return (
        default[0] if hard is None else hard,
        default[1] if soft is None else soft,
    )


def _declared(loss: Any) -> tuple[float, float | None]:
    hard, soft = getattr(loss, "default_weights", (1.0, 1.0))
    return float(hard), None if soft is None else float(soft)


def _checked_losses(losses: Any) -> list[keras.losses.Loss]:
    """The losses of a structure without its None."""
    flat = keras.tree.flatten(losses)
    found = [x for x in flat if x is not None] or [None]
    for loss in found:
        _validation.distillation_loss(loss)
    return found


def objective(
    distillation_loss: Any,
    hard_loss_weight: Any,
    soft_loss_weight: Any,
    features: Any = (),
) -> Objective:
    """Checks losses and weights, alone and together."""
    _checked_losses(distillation_loss)
    hard = _hard_weight(hard_loss_weight)
    soft = soft_loss_weight
    if keras.tree.is_nested(soft):
        soft = keras.tree.map_structure(_weight_or_none, soft)
    else:
        soft = _weight("soft_loss_weight", soft)
    losses = _copied(distillation_loss)
    terms, places = _terms(losses, soft)
    features = _features.checked(features)
    found = Objective(losses, hard, soft, terms, places, features)
    require_something(found)
    return found


def require_something(objective: Objective) -> None:
    """Refuses weights that are all 0."""
    if not any((*objective.computed, objective.has_features)):
        raise ValueError(
            "`hard_loss_weight` and `soft_loss_weight` must not both be 0, "
            "unless a feature has a weight. Received: 0 and 0, which leaves "
            "nothing to train on. Set the one that is to be above 0 first."
        )


def _weight(name: str, value: Any) -> Any:
    check = functools.partial(_validation.weight, name)
    return _schedules.checked(check, value)


def _hard_weight(value: Any) -> Any:
    if keras.tree.is_nested(value):
        fix = "Pass one number, and compile(loss_weights=...) to weigh outputs."
        _validation.finite_number("hard_loss_weight", value, fix)
    return _weight("hard_loss_weight", value)


def _weight_or_none(value: Any) -> Any:
    return None if value is None else _weight("soft_loss_weight", value)


def _terms(losses: Any, weights: Any) -> tuple[tuple[Term, ...], Any]:
    """Pairs losses with weights, either of which may be one for all."""
    if not keras.tree.is_nested(losses):
        losses = _like(weights, losses)
    elif not keras.tree.is_nested(weights):
        weights = _like(losses, weights)
    _same_places(losses, weights)
    terms: list[Term] = []
    places: list = []
    pairs = keras.tree.flatten(losses), keras.tree.flatten(weights)
    for loss, weight in zip(*pairs, strict=True):
        places.append(None if loss is None else len(terms))
        if loss is not None:
            terms.append(Term(loss, weight))
    return tuple(terms), keras.tree.pack_sequence_as(losses, places)


def _like(structure: Any, value: Any) -> Any:
    """The value in each place of a structure that is not None."""
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else value, structure
    )


def _same_places(losses: Any, weights: Any) -> None:
    places = [
        {tuple(p) for p, v in keras.tree.flatten_with_path(x) if v is not None}
        for x in (losses, weights)
    ]
    if places[0] != places[1] or not places[0]:
        raise ValueError(
            "`soft_loss_weight` must be one number, or a structure like "
            "`distillation_loss` with a number for each loss. Received: "
            f"distillation_loss={losses!r}, soft_loss_weight={weights!r}. "
            "Give both the same keys, and None where there is no teacher."
        )


def _copied(structure: Any) -> Any:
    return keras.tree.map_structure(lambda leaf: leaf, structure)


def weighted(weight: Any, loss: Tensor) -> Tensor:
    """A term of the objective, whatever dtype its loss has, in float32."""
    loss = ops.cast(loss, keras.backend.result_type(loss.dtype, "float32"))
    return ops.cast(weight, loss.dtype) * loss
