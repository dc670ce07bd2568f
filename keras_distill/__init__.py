"""keras_distill: knowledge distillation for Keras 3.

    import keras_distill as kd

    distiller = kd.Distiller(teacher, student, kd.losses.SoftTargets(4.0))
    distiller.compile("adam", loss, metrics=["accuracy"])
    distiller.fit(x, y, epochs=20)
    distiller.student.save("student.keras")  # a plain Keras model

Each name in `kd.__all__` has formulas, shapes, errors and an example in its own
`help`.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from keras_distill import (
    bias,
    callbacks,
    example_weights,
    losses,
    specialists,
    transforms,
)
from keras_distill._as_logits import LogProbabilities, as_logits
from keras_distill._attached import WithTeacherLogits
from keras_distill._select_classes import select_classes
from keras_distill.cache import TeacherCache
from keras_distill.distiller import Distiller
from keras_distill.ensemble import Ensemble
from keras_distill.fidelity import evaluate_fidelity

__version__ = "0.2.0"

__all__ = [
    "Distiller",
    "Ensemble",
    "LogProbabilities",
    "TeacherCache",
    "WithTeacherLogits",
    "as_logits",
    "bias",
    "callbacks",
    "evaluate_fidelity",
    "example_weights",
    "losses",
    "plotting",
    "select_classes",
    "specialists",
    "transforms",
    "tuner",
]

# Modules that nobody needs without a package that an extra brings. They are
# imported when they are first asked for, with the error that names the extra.
_ON_DEMAND = {"plotting": "matplotlib", "tuner": "keras_tuner"}

# `help` and `import *` ask for everything that is listed, and must not fail.
for _name, _package in _ON_DEMAND.items():
    if importlib.util.find_spec(_package) is None:
        __all__.remove(_name)

if TYPE_CHECKING:
    from keras_distill import plotting, tuner
else:

    def __getattr__(name: str) -> Any:
        if name in _ON_DEMAND:
            return importlib.import_module(f"keras_distill.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
