"""A generalist and its specialists as one model."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill import _kinds, _validation, transforms
from keras_distill._keras import graph
from keras_distill._keras.frozen import FrozenModel, FrozenVariables
from keras_distill._registration import register
from keras_distill.specialists._build import Specialist
from keras_distill.specialists._combine import Combination

Tensor = Any


@register
class SpecialistEnsemble(FrozenVariables):
    """A generalist and its specialists as one model.

    Formula: the logits of the `q` that minimises `KL(p_g, q) + sum_m KL(p_m,
    q)` over the specialists `m` whose special classes meet the generalist's
    `n` most probable ones; Hinton et al. 2015, section 5.3, eq. (5). See
    `kd.specialists.combine_logits`.

    The model predicts, evaluates (after `compile`), and serves as the teacher
    of a `kd.Distiller`. All members are frozen. A specialist that is active for
    no example of a batch is not run; the others run on the whole batch. In a
    batch of many classes nearly all are active somewhere, and nothing is saved;
    sorted by the generalist's answer, 20 specialists took half the time
    (`benchmarks/specialist_inference.py`).

    Args:
        generalist: A built Keras model that ends in logits, shape `(batch,
            classes)`.
        specialists: `kd.specialists.Specialist`s, or pairs `(model, classes)`:
            built models of the same inputs with `len(classes) + 1` logits, the
            dustbin's last, already shifted by `dustbin_correction`; or
            `Specialist(model, classes, full_softmax=True)`.
        n: How many of the generalist's most probable classes choose the active
            specialists.
        name: Name of the model.
        **kwargs: Passed to `keras.Model`.

    Returns:
        When called: logits, shape `(batch, classes)`, at least float32.

    Raises:
        TypeError: If a member is no Keras model.
        ValueError: If one is not built, ends in probabilities or does not fit
            its classes, or if there are no specialists.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(10)]
    >>> generalist = keras.Sequential(layers)
    >>> specialists = [
    ...     (kd.specialists.build_specialist(generalist, classes), classes)
    ...     for classes in ([1, 2, 3], [3, 4])
    ... ]
    >>> ensemble = kd.specialists.SpecialistEnsemble(generalist, specialists)
    >>> tuple(ensemble(np.ones((5, 4))).shape)
    (5, 10)
    """

    kind = _kinds.CLASSES

    def __init__(
        self,
        generalist: keras.Model,
        specialists: Sequence[Specialist | tuple],
        n: int = 1,
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        found = _specialists(specialists)
        named = [("generalist", generalist)]
        named += [(f"specialists[{m}]", s.model) for m, s in enumerate(found)]
        for label, model in named:
            _check_member(label, model)
        super().__init__(name=name, autocast=False, **kwargs)
        self.generalist = generalist
        self.models = [specialist.model for specialist in found]
        self.class_sets = [list(specialist.classes) for specialist in found]
        self.n = n
        self._combination = Combination(
            _classes(generalist),
            self.class_sets,
            [_classes(model) for model in self.models],
            n,
            [specialist.full_softmax for specialist in found],
        )
        self.built = True

    @property
    def specialists(self) -> list[Specialist]:
        parts = zip(
            self.models, self.class_sets, self._combination.full, strict=True
        )
        return [Specialist(*part) for part in parts]

    def wrapped(self) -> list[keras.Model]:
        return [self.generalist, *self.models]

    def call(self, inputs: Tensor) -> Tensor:
        logits = FrozenModel(self.generalist)(inputs)
        log_g = transforms.log_probabilities(logits)
        active = self._combination.active(log_g)
        log_p = [
            self._if_active(model, inputs, active[:, m])
            for m, model in enumerate(self.models)
        ]
        return self._combination(log_g, log_p, active)

    def _if_active(
        self, model: keras.Model, inputs: Tensor, active: Tensor
    ) -> Tensor:
        def run() -> Tensor:
            # Not the model itself: losses that its layers add must not
            # leave the branch.
            logits = transforms.log_probabilities(frozen(inputs))
            return ops.cast(logits, dtype)

        frozen = FrozenModel(model)
        dtype = transforms.at_least_float32(ops.zeros((), model.compute_dtype))
        dtype = keras.backend.standardize_dtype(dtype.dtype)
        shape = (ops.shape(active)[0], _classes(model))
        return ops.cond(ops.any(active), run, lambda: ops.zeros(shape, dtype))

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "generalist": serialize(self.generalist),
            "specialists": [
                [serialize(s.model), s.classes, s.full_softmax]
                for s in self.specialists
            ],
            "n": self.n,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        def model(part: dict) -> keras.Model:
            return keras.saving.deserialize_keras_object(
                part, custom_objects=custom_objects
            )

        specialists = [
            Specialist(model(part), classes, full)
            for part, classes, full in config["specialists"]
        ]
        generalist = model(config["generalist"])
        own = {"generalist": generalist, "specialists": specialists}
        return cls(**{**config, **own})


def _specialists(specialists: Any) -> list[Specialist]:
    valid = isinstance(specialists, list | tuple) and all(
        isinstance(s, tuple) and len(s) in (2, 3) for s in specialists
    )
    if not valid or not specialists:
        raise ValueError(
            "`specialists` must be a list of at least one Specialist or pair "
            f"(model, classes). Received: specialists={specialists!r}."
        )
    return [Specialist(*specialist) for specialist in specialists]


def _check_member(name: str, model: Any) -> None:
    _validation.is_model(name, model)
    _validation.one_output(name, model)
    graph.require_logits(name, model)
    if not model.built or len(getattr(model, "output_shape", ())) != 2:
        raise ValueError(
            f"`{name}` must be a built model with logits of shape (batch, "
            f"classes). Received: {name}={model.name!r}, "
            f"{'built' if model.built else 'not built'}. Wrap a subclassed "
            "model in keras.Sequential([keras.Input(shape), model])."
        )


def _classes(model: keras.Model) -> int:
    return model.output_shape[-1]
