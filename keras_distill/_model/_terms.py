"""The terms of a Distiller's objective, each without its weight."""

from typing import Any

from keras_distill._keras import trainer
from keras_distill._keras.sample_weights import like_outputs
from keras_distill._model._featured import Featured
from keras_distill._objective import (
    Output,
    SoftLoss,
    Targets,
    names_of,
    of_each,
    of_tensors,
)

Tensor = Any


class Termed(Featured):
    """A student and what its outputs and features are compared with."""

    def hard_loss_of(self, y: Any, y_pred: Any, sample_weight: Any) -> Tensor:
        """The compiled loss, without its weight."""
        weights = self._compiled_weights(sample_weight, y_pred)
        return trainer.compiled_loss(self, y, y_pred, weights)

    def soft_losses_of(
        self, targets: Targets, y_pred: Any, sample_weight: Any
    ) -> list[SoftLoss]:
        """The distillation loss of each output, with its weight beside it."""
        outputs = self._outputs_of(y_pred)
        return self._objective.soft_losses(
            targets, outputs, sample_weight, self.loss
        )

    def _compiled_weights(self, sample_weight: Any, y_pred: Any) -> Any:
        outputs = self._outputs_of(y_pred)
        weights = of_each("sample_weight", sample_weight, outputs)
        return like_outputs(weights, y_pred)

    def _outputs_of(self, y_pred: Any) -> list[Output]:
        return of_tensors(y_pred, names_of(self))

    @property
    def output_names(self) -> list[str]:
        """The student's, by which Keras finds losses, weights and labels."""
        return self.student.output_names
