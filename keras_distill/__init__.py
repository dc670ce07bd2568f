"""keras_distill: knowledge distillation for Keras 3."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from keras_distill import bias, losses, plotting, specialists, transforms
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

if TYPE_CHECKING:
    from keras_distill import tuner
else:
    # Its classes inherit from those of keras-tuner, so that it is imported
    # when it is first asked for.
    def __getattr__(name: str) -> Any:
        if name == "tuner":
            return importlib.import_module("keras_distill.tuner")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `help` asks for everything that is listed, and must not fail.
    missing = importlib.util.find_spec("keras_tuner") is None
    names = [*__all__, "__version__"]
    return [name for name in names if not (missing and name == "tuner")]
