"""Whether the heads of models are what a distillation loss compares."""

from typing import Any

import keras

from keras_distill import _kinds
from keras_distill._keras import graph


def fit_loss(loss: Any, **models: keras.Model | None) -> None:
    """Refuses models that are known to end in something else.

    Args:
        loss: A distillation loss.
        **models: The models by what they are called; None is passed over.
    """
    kind = _kinds.compares(loss)
    for name, model in models.items():
        if model is not None:
            graph.require_logits(name, model, kind, _kinds.BY_LOSS)
