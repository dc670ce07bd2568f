"""keras_distill: knowledge distillation for Keras 3."""

from keras_distill import bias, losses, plotting, specialists, transforms, tuner
from keras_distill._attached import WithTeacherLogits
from keras_distill.cache import TeacherCache
from keras_distill.distiller import Distiller
from keras_distill.ensemble import Ensemble, LogProbabilities, as_logits
from keras_distill.fidelity import evaluate_fidelity

__version__ = "0.1.0"

__all__ = [
    "Distiller",
    "Ensemble",
    "LogProbabilities",
    "TeacherCache",
    "WithTeacherLogits",
    "as_logits",
    "bias",
    "evaluate_fidelity",
    "losses",
    "plotting",
    "specialists",
    "transforms",
    "tuner",
]
