"""Features of a Distiller: taken in the one pass of each model, compared."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill import _features
from keras_distill._features import Feature, Layers
from keras_distill._keras import numbers
from keras_distill._keras.frozen import FrozenModel
from keras_distill._keras.inputs import own_entries
from keras_distill._keras.layers import track_last
from keras_distill._model._changes import Changeable
from keras_distill._objective import (
    FeatureLoss,
    Objective,
    Targets,
    WithFeatures,
    feature_loss,
    untapped,
)

Tensor = Any
_KEY = "projectors"


class _Places:
    """The layers of both models. Keras would track and save what a list has."""

    def __init__(self, student: Layers) -> None:
        self.student = student
        self.teacher: Layers | None = None


class Featured(Changeable):
    """A student, some of whose layers give what some of a teacher's do.

    Abstract: a subclass says by `_in_training` in which phase it is.
    """

    _places: _Places
    _in_training: bool

    def _set_objective(self, student: keras.Model, terms: Objective) -> None:
        super()._set_objective(student, terms)
        paths = [feature.student_layer for feature in terms.features]
        places = _Places(Layers("student", student, paths))
        pairs = zip(terms.features, places.student.specs, strict=True)
        found = [_features.built(f.projector, spec) for f, spec in pairs]
        self._places = places
        # By the number of the feature, for those that have one.
        self.projectors = {
            str(i): each for i, each in enumerate(found) if each is not None
        }

    def _freeze(self, teacher: keras.Model) -> FrozenModel:
        frozen = super()._freeze(teacher)
        self._match_features(teacher)
        return frozen

    @property
    def feature_losses(self) -> tuple[Feature, ...]:
        """What is compared beside outputs; the `weight` of each can be set."""
        return self._objective.features

    def _match_features(self, teacher: keras.Model) -> None:
        """Finds a teacher's layers, and makes the projectors that it takes."""
        features, student = self.feature_losses, self._places.student
        paths = [feature.teacher_layer for feature in features]
        found = Layers("teacher", teacher, paths)
        made = {}
        for i, feature in enumerate(features):
            specs = found.specs[i], student.specs[i]
            if getattr(feature.loss, "per_example", True):
                found.require_channels_last(i)
                student.require_channels_last(i)
            projector = self._projector(i)
            if projector is None:
                policy = self.student.dtype_policy
                with numbers.scope(self):
                    projector = _features.default_projector(
                        feature, *specs, policy
                    )
                made[str(i)] = projector
            _features.require_comparable(feature, projector, *specs)
        made = {key: each for key, each in made.items() if each is not None}
        self._require_trainable(made)
        if made:
            known = {**self.projectors, **made}
            self.projectors = {
                key: known[key] for key in sorted(known, key=int)
            }
            # A loaded Distiller, and so the state of its optimizer, has them
            # in the order of the features, whenever they were made.
            track_last(self, list(self.projectors.values()))
        self._places.teacher = found

    def _require_trainable(self, projectors: dict) -> None:
        """Refuses projectors that no optimizer would train."""
        optimizer = getattr(self, "optimizer", None)
        if projectors and optimizer is not None and optimizer.built:
            raise ValueError(
                "A projector cannot come after training has begun. Received: a "
                "teacher whose features have other shapes than the student's, "
                f"number {', '.join(projectors)} in feature_losses. Make a new "
                "kd.Distiller(teacher, distiller.student, ...)."
            )

    def _run_teacher(
        self, teacher: FrozenModel, x: Any, values: Any, shared: Iterable
    ) -> tuple[Any, list[Tensor] | None]:
        """The teacher's outputs, and its features if wanted, by one pass."""
        layers = self._places.teacher
        if layers is None or not self._objective.has_features:
            return teacher(x, values, shared), None
        with layers.taken() as calls:
            outputs = teacher(x, values, shared)
        return outputs, layers.features(calls)

    def _run_student(self, x: Any, training: bool | None) -> Any:
        """Runs the student, once; its features beside outputs if wanted."""
        x, wanted = untapped(x)
        x = own_entries(self.student, x)
        if not wanted:
            return self.student(x, training=training)
        layers = self._places.student
        with layers.taken() as calls:
            outputs = self.student(x, training=training)
        features: list = [None] * len(calls)
        # Within the call, so that Keras finds what projectors add to the loss.
        for i, given in enumerate(layers.features(calls)):
            if i in self._computed():
                projector = self._projector(i)
                features[i] = _features.projected(projector, given, training)
        return WithFeatures(outputs, features)

    def feature_losses_of(
        self,
        targets: Targets,
        features: list[Tensor] | None,
        sample_weight: Any,
    ) -> list[FeatureLoss]:
        """The loss of each feature, with its weight beside it.

        Args:
            targets: With what the teacher's layers gave.
            features: What the student's gave, projected; None where it is not
                computed.
            sample_weight: None, or weights in any structure.
        """
        if features is None or targets.features is None:
            raise ValueError(
                "Feature losses are computed in the steps of `fit` and "
                "`train_on_batch`. Received: outputs of the student without "
                "features, as in a loop of one's own. Train with fit, or set "
                "the weight of each feature to 0."
            )
        found = []
        for i in self._computed():
            feature, own = self.feature_losses[i], targets.numbers["features"]
            parts = feature, own[i], targets.features[i]
            found.append(feature_loss(*parts, features[i], sample_weight))
        return found

    def _computed(self) -> list[int]:
        on = enumerate(self._objective.computed_features)
        return [number for number, computed in on if computed]

    def _idle_projectors(self) -> Tensor:
        """0, with a gradient of 0 for projectors that a step does not use.

        Without a gradient an optimizer warns, and on JAX alone goes on by
        momentum.
        """
        used = {id(self._projector(number)) for number in self._computed()}
        return sum(
            0.0 * ops.sum(ops.cast(variable, "float32"))
            for projector in self.projectors.values()
            if id(projector) not in used
            for variable in projector.trainable_variables
        )

    def _projector(self, number: int) -> Any:
        return self.projectors.get(str(number))

    def regularised(self) -> keras.Model:
        """In evaluation what a projector weighs does not count."""
        return self if self._in_training else self.student

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.projectors:
            store[_KEY] = np.array([int(key) for key in self.projectors])

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        held = store[_KEY] if _KEY in store else ()
        missing = [int(i) for i in held if str(i) not in self.projectors]
        if missing:
            raise ValueError(
                "The weights of projectors would be lost. Received: a file "
                f"with those of the features number {missing}, and a Distiller "
                "that has none for them yet. Set distiller.teacher, which "
                "makes them, before loading weights."
            )

    def own_config(self) -> dict:
        found = [
            feature.with_projector(self._projector(i))
            for i, feature in enumerate(self.feature_losses)
        ]
        features = keras.saving.serialize_keras_object(found)
        return {**super().own_config(), "feature_losses": features}
