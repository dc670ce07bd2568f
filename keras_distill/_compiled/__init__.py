"""What `compile` and a Distiller got, tried out on a few made-up examples."""

from keras_distill._compiled._check import Checked, check
from keras_distill._compiled._comparison import (
    require_comparison,
    require_feature_comparison,
)
from keras_distill._compiled._marks import marked_by, on_logits
from keras_distill._compiled._pairing import outputs_of

__all__ = [
    "Checked",
    "check",
    "marked_by",
    "on_logits",
    "outputs_of",
    "require_comparison",
    "require_feature_comparison",
]
