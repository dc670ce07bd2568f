"""What the terms of a Distiller do at a moment, measured on a dataset."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill import _measures, _validation, transforms
from keras_distill._keras import trainer
from keras_distill._keras.compiled import compiled_as, gradient
from keras_distill._keras.inputs import own_entries
from keras_distill._objective import Targets, of_tensors
from keras_distill._watched import Batch, Watched, require_weight
from keras_distill.distiller import Distiller
from keras_distill.losses import soft_targets, ttm

Tensor = Any
_LEAST = 1e-30


class Diagnosis:
    """A Distiller's measures, by one compiled function.

    Args:
        distiller: With one output, and a student that is built.
        temperature: `T` of the measures, None for that of the loss.
    """

    def __init__(self, distiller: Distiller, temperature: Any) -> None:
        self._distiller, self._temperature = distiller, temperature
        self._traced_for: Any = None

    def __call__(self, watched: Watched) -> dict[str, float]:
        """Passes over the data once."""
        self._compile()
        sums: dict[str, float] = {}
        gradients: dict[str, list] = {}
        examples = 0
        for batch in watched:
            count = len(batch.teacher_logits)
            found, slopes = self._measured(batch)
            for name, value in _numbers(found).items():
                sums[name] = sums.get(name, 0.0) + value
            for name, slope in slopes.items():
                parts = [count * part for part in slope]
                before = gradients.get(name)
                gradients[name] = _added(before, parts) if before else parts
            examples += count
        require_weight(sums.get("weight"))
        return _means(sums) | {
            name: _norm(parts) / examples for name, parts in gradients.items()
        }

    def try_out(self, watched: Watched) -> None:
        """Compiles what is needed, on the first batch."""
        self._compile()
        for batch in watched.first(self._distiller.student):
            self._measured(batch)

    def _measured(self, batch: Batch) -> tuple[dict, dict]:
        numbers = _as_tensors(self._distiller.numbers_now())
        return self._step(self._values(), numbers, *batch)

    def _compile(self) -> None:
        traced_for = self._distiller.traced_for()
        if traced_for != self._traced_for:
            require_terms(self._distiller, self._temperature)
            self._step = compiled_as(self._of_batch, self._distiller)
            self._traced_for = traced_for

    def _values(self) -> tuple[list, list]:
        student = self._distiller.student
        return (
            [v.value for v in student.trainable_variables],
            [v.value for v in student.non_trainable_variables],
        )

    def _of_batch(
        self,
        values: tuple[list, list],
        numbers: dict,
        x: Any,
        teacher_logits: Tensor,
        y: Any,
        sample_weight: Any,
    ) -> tuple[dict, dict]:
        batch = Batch(x, teacher_logits, y, sample_weight)
        logits = self._student_logits(x, *values)
        # What has no gradient has no mask either.
        weight = _measures.weight_of(logits, sample_weight)
        student_logits = ops.stop_gradient(logits)
        temperature = self._temperature
        if temperature is None:
            temperature = numbers["losses"][0]["temperature"]
        measures = entropies(teacher_logits, student_logits, temperature)
        sums = {name: ops.sum(weight * m) for name, m in measures.items()}
        sums["weight"] = ops.sum(weight)
        mean = sums["power_sum"] / ops.maximum(sums["weight"], _LEAST)
        away = ops.square(measures["power_sum"] - mean)
        sums["power_sum_sd"] = ops.sum(weight * away)
        return sums, self._gradients(values, numbers, batch)

    def _gradients(
        self, values: tuple[list, list], numbers: dict, batch: Batch
    ) -> dict[str, list]:
        def term(of: Callable) -> Callable:
            def loss(trainable: list) -> Tensor:
                logits = self._student_logits(batch.x, trainable, values[1])
                # Keras divides losses by the number of TensorFlow replicas.
                return trainer.replicas() * of(numbers, batch, logits)

            return loss

        found = {}
        if self._distiller.loss is not None and batch.y is not None:
            slope = gradient(term(self._hard_loss), values[0])
            found["hard_gradient_norm"] = slope
        slope = [ops.zeros_like(value) for value in values[0]]
        if self._distiller.objective.has_soft_loss:
            slope = gradient(term(self._soft_loss), values[0])
        return found | {"soft_gradient_norm": slope}

    def _student_logits(
        self, x: Any, trainable: list, non_trainable: list
    ) -> Tensor:
        student = self._distiller.student
        variables = (
            student.trainable_variables + student.non_trainable_variables
        )
        mapping = zip(variables, [*trainable, *non_trainable], strict=True)
        # `stateless_call` passes `training` on, wanted or not, and no masks.
        with keras.StatelessScope(state_mapping=mapping):
            return student(own_entries(student, x), training=False)

    def _hard_loss(self, numbers: dict, batch: Batch, logits: Tensor) -> Tensor:
        hard = self._distiller.hard_loss_of(batch.y, logits, batch.weight)
        return numbers["hard"] * hard

    def _soft_loss(self, numbers: dict, batch: Batch, logits: Tensor) -> Tensor:
        teacher = of_tensors(batch.teacher_logits)
        targets = Targets(batch.y, teacher, numbers)
        found = self._distiller.soft_losses_of(targets, logits, batch.weight)
        return sum(soft.weight * soft.value for soft in found)


def require_terms(model: Any, temperature: float | None) -> None:
    """Refuses what has no terms, or no temperature."""
    if not isinstance(model, Distiller):
        raise ValueError(
            "kd.callbacks.Diagnostics needs the fit of a kd.Distiller. "
            f"Received: that of a {type(model).__name__}."
        )
    terms = model.objective.terms
    _validation.bare_output("student", model.student)
    if temperature is None and not hasattr(terms[0].loss, "temperature"):
        raise ValueError(
            "No temperature is known. Received: a distillation loss without "
            f"one, {type(terms[0].loss).__name__}. Pass "
            "kd.callbacks.Diagnostics(..., temperature=4.0)."
        )


def entropies(v: Tensor, z: Tensor, temperature: Any) -> dict[str, Tensor]:
    """The quantities of Zheng and Yang 2024, eq. (15) and (22), `(...)` each.

    Args:
        v: The teacher's logits, shape `(..., classes)`.
        z: The student's, same shape.
        temperature: `T`.
    """
    power_sum = transforms.power_sum(v, temperature)
    tempered = soft_targets(v, z, temperature) / temperature**2
    tempered_v = transforms.at_least_float32(v) / temperature
    return {
        "student_entropy": transforms.renyi_entropy(z, 1.0),
        "student_renyi_entropy": transforms.renyi_entropy(z, 1.0 / temperature),
        "teacher_entropy": transforms.renyi_entropy(v, 1.0),
        "tempered_teacher_entropy": transforms.renyi_entropy(tempered_v, 1.0),
        "divergence": ttm(v, z, temperature),
        "tempered_divergence": tempered,
        "power_sum": power_sum,
    }


def _as_tensors(numbers: dict) -> dict:
    return keras.tree.map_structure(
        lambda number: ops.convert_to_tensor(number, "float32"), numbers
    )


def _added(one: list, other: list) -> list:
    return [a + b for a, b in zip(one, other, strict=True)]


def _numbers(sums: dict[str, Tensor]) -> dict[str, float]:
    """Sums of a batch; squares no longer from its mean, but from 0.

    In float32 they would be too large for what the power sums differ by.
    """
    found = {
        name: float(ops.convert_to_numpy(value)) for name, value in sums.items()
    }
    weight = max(found["weight"], _LEAST)
    found["power_sum_sd"] += found["power_sum"] ** 2 / weight
    return found


def _means(sums: dict[str, float]) -> dict[str, float]:
    weight = sums.pop("weight")
    means = {name: value / weight for name, value in sums.items()}
    variance = means["power_sum_sd"] - means["power_sum"] ** 2
    return means | {"power_sum_sd": math.sqrt(max(variance, 0.0))}


def _norm(parts: list) -> float:
    squares = [
        np.sum(np.square(ops.convert_to_numpy(part), dtype="float64"))
        for part in parts
    ]
    return math.sqrt(sum(squares))
