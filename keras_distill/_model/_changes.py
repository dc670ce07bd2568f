"""What of a Distiller may be set at any moment, in force at the next step.

All but the student lives in plain objects that Keras does not track.
"""

import types
from typing import Any

import keras

from keras_distill import _validation
from keras_distill._compiled import require_comparison
from keras_distill._inputs import same_inputs
from keras_distill._keras.frozen import FrozenModel, supports_jit
from keras_distill._keras.numbers import Door
from keras_distill._model._saving import Identity, Saved
from keras_distill._objective import (
    FirstStep,
    Objective,
    losses_of,
    require_match,
    scheduled,
)


class Changeable(Saved):
    """A student, an objective and a teacher.

    Abstract: a subclass calls `_set_objective` once, before it has a teacher,
    and says in `_has_new_losses` what else a new loss brings.
    """

    not_own = ("teacher", "distillation_loss", "soft_loss_weight")
    student: keras.Model
    _objective: Objective
    _teacher: FrozenModel | None = None
    _door: Door
    _identity: Identity
    _first_step: FirstStep

    def _set_objective(self, student: keras.Model, terms: Objective) -> None:
        require_match(terms, None, student)
        require_comparison(student, losses_of(terms, student))
        self.student = student
        self._objective = terms
        self._door = Door(lambda: self._objective.numbers())
        self._first_step = FirstStep(student)
        self._report = self._first_step.report

    def _has_new_losses(self) -> None:
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "student" and hasattr(self, name):
            raise AttributeError(
                "`student` cannot be replaced. Received: distiller.student = "
                f"{value!r}. Make a new kd.Distiller(teacher, student, ...), "
                "or give this student other weights with student.set_weights."
            )
        if name == "feature_losses":
            raise AttributeError(
                "`feature_losses` cannot be replaced: their projectors are "
                f"trained. Received: distiller.feature_losses = {value!r}. "
                "Make a new kd.Distiller(teacher, student, ...), or set the "
                "weight of one, distiller.feature_losses[0].weight."
            )
        if not hasattr(type(self), name):
            self._is_no_number_of_a_loss(name, value)
        super().__setattr__(name, value)

    def _is_no_number_of_a_loss(self, name: str, value: Any) -> None:
        """Refuses `distiller.temperature = 4.0`, which no step would read."""
        objective = vars(self).get("_objective")
        for term in objective.terms if objective else ():
            if name in getattr(term.loss, "numbers", ()):
                raise AttributeError(
                    f"`{name}` is a number of a distillation loss, "
                    f"{type(term.loss).__name__}. Received: distiller.{name} = "
                    f"{value!r}. Set distiller.distillation_loss.{name}, or "
                    f"that of one output, distiller.distillation_loss[...]."
                    f"{name}."
                )

    @property
    def hard_loss_weight(self) -> Any:
        """Weight of the compiled loss."""
        return self._objective.hard_loss_weight

    @hard_loss_weight.setter
    def hard_loss_weight(self, weight: Any) -> None:
        self._change(hard_loss_weight=weight)

    @property
    def soft_loss_weight(self) -> Any:
        """Weight of the distillation loss, or a structure of weights."""
        return _read_only(self._objective.soft_loss_weight)

    @soft_loss_weight.setter
    def soft_loss_weight(self, weight: Any) -> None:
        self._change(soft_loss_weight=weight)

    @property
    def distillation_loss(self) -> Any:
        """The loss between teacher and student, or a structure of losses."""
        return _read_only(self._objective.distillation_loss)

    @distillation_loss.setter
    def distillation_loss(self, loss: Any) -> None:
        self._change(distillation_loss=loss)

    def _change(self, **changes: Any) -> None:
        now = self._objective.replaced(**changes)
        require_match(now, self.teacher, self.student)
        if "distillation_loss" in changes:
            losses = losses_of(now, self.student)
            require_comparison(self.student, losses)
        self._objective = now
        if "distillation_loss" in changes:
            self._has_new_losses()
            self._first_step.report.ask()

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, None if there is none."""
        return self._teacher.model if self._teacher else None

    @teacher.setter
    def teacher(self, teacher: keras.Model | None) -> None:
        other = teacher is not None and teacher is not self.teacher
        self._teacher = None if teacher is None else self._freeze(teacher)
        if other:
            self._identity.replaced()
            self._first_step.report.ask()
        teacher_built = teacher is None or teacher.built
        self.built = self.student.built and teacher_built

    def _freeze(self, teacher: keras.Model) -> FrozenModel:
        _validation.is_model("teacher", teacher)
        require_match(self._objective, teacher, self.student)
        _validation.not_shared(teacher, self.student)
        same_inputs([("teacher", teacher), ("student", self.student)])
        frozen = FrozenModel(teacher, self.student)
        self._identity.check(teacher)
        self.supports_jit = supports_jit(teacher)
        return frozen

    def fed_values(self, phase: str) -> tuple | None:
        if phase != "train":
            return None
        values = None
        if self._teacher:
            _validation.is_built("teacher", self._teacher.model)
            values = self._teacher.values()
        return values, self._door.read()

    def kept_values(self) -> list:
        if self._teacher is None or not self._teacher.model.built:
            return []
        return self._teacher.values()

    @property
    def objective(self) -> Objective:
        """What is optimised, as it is now."""
        return self._objective

    def numbers_now(self) -> dict[str, Any]:
        """Weights and numbers of losses, as the next step is to read them."""
        return self._door.in_step(None, lambda: self.optimizer.iterations)

    def make_train_function(self, force: bool = False) -> None:
        """Called by Keras before each `fit`; with `force` by anyone."""
        if self._teacher:
            self._teacher.look_again()
        super().make_train_function(force)

    def traced_for(self) -> tuple:
        teacher = self._teacher.key if self._teacher else None
        now = self._objective
        computed = now.computed, now.computed_features
        return teacher, now.key, *computed, self._door.scheduled()

    def scheduled(self) -> dict:
        return scheduled(self._objective, self.student)

    def own_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        terms = self._objective
        return {
            "distillation_loss": serialize(terms.distillation_loss),
            "hard_loss_weight": serialize(terms.hard_loss_weight),
            "soft_loss_weight": serialize(terms.soft_loss_weight),
        }


def _read_only(structure: Any) -> Any:
    """A view of what only a setter may change."""
    if isinstance(structure, dict):
        found = {key: _read_only(value) for key, value in structure.items()}
        return types.MappingProxyType(found)
    if isinstance(structure, list | tuple):
        return tuple(map(_read_only, structure))
    return structure
