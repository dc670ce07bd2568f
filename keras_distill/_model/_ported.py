"""Arguments of other Distillers, and what became of them here."""

import inspect
from collections.abc import Iterable
from typing import Any

import keras

_LOSS = "distillation_loss=kd.losses.SoftTargets(temperature)"
# Of keras.distillation.Distiller, and of the example on keras.io.
_BECAME = {
    "distillation_losses": f"is {_LOSS}, of several losses kd.losses.Sum, of "
    "features feature_losses=[kd.losses.Feature(teacher_layer, student_layer)]",
    "distillation_loss_weights": "is soft_loss_weight, of several losses "
    "kd.losses.Sum(losses, weights), of features their weight",
    "student_loss_weight": "is hard_loss_weight, 1 less it soft_loss_weight",
    "student_loss_fn": "is the loss of compile(loss=...)",
    "distillation_loss_fn": f"is {_LOSS}",
    "alpha": "is hard_loss_weight, 1 less it soft_loss_weight",
    "temperature": f"is that of the loss: {_LOSS}",
}


def refuse_names_of_others(names: Iterable[str], cls: type) -> None:
    """Says what became of an argument that a Distiller has elsewhere.

    Args:
        names: Of the arguments.
        cls: The class of the Distiller, which may have added some.
    """
    own = inspect.signature(cls).parameters
    found = [name for name in names if name in _BECAME and name not in own]
    if found:
        became = ". ".join(f"`{name}` {_BECAME[name]}" for name in found)
        raise TypeError(
            "kd.Distiller takes (teacher, student, distillation_loss, *, "
            "hard_loss_weight, soft_loss_weight, feature_losses). Received: "
            f"{', '.join(found)}, of another Distiller. {became}."
        )


def refuse_losses_of_others(losses: Any) -> None:
    """Says what became of a loss of `keras.distillation`."""
    module = getattr(keras, "distillation", None)
    theirs = getattr(module, "DistillationLoss", ())
    for loss in keras.tree.flatten(losses):
        if isinstance(loss, theirs):
            raise TypeError(
                "A loss of keras.distillation is not one of keras.losses. "
                f"Received: a {type(loss).__name__}. LogitsDistillation(t) is "
                "kd.losses.SoftTargets(t), and FeatureDistillation("
                "teacher_layer_name=a, student_layer_name=b) is "
                "feature_losses=[kd.losses.Feature(a, b)]."
            )
