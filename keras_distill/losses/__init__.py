"""Distillation losses: pure functions per example, then thin Loss classes.

Each function takes unnormalised logits of shape `(..., classes)` and gives one
number per distribution, shape `(...)`. It computes in log space, in at least
float32, and passes no gradient to the teacher. `DIST` alone compares whole
batches, and gives one number.

| loss | what it asks of the student |
|---|---|
| `SoftTargets` | the teacher's tempered probabilities; where to begin |
| `LogitMatching` | the teacher's logits: no temperature |
| `TTM`, `WTTM` | to be unsure where the teacher is; calibrate afterwards |
| `DKD`, `NKD` | what the teacher says of the classes that the label is not |
| `DIST` | the order of the classes, not their probabilities |
| `Standardized(loss)` | another loss, however sure the student is |
| `ReverseKL` | to be right where it is sure: small models of text |
| `JensenShannon` | between this and `SoftTargets`; bounded |
| `HardLabels` | the teacher's answers alone: what others have to beat |
| `SigmoidTargets` | labels that do not exclude each other |
| `Sum` | several of these at once |

`Feature` compares inner layers, for the `feature_losses` of a Distiller, by one
of Keras's losses or one between features of shape `(batch, ..., channels)`:

| loss | what it asks of the student |
|---|---|
| `CosineDistance` | the direction of the teacher's features |
| `AttentionTransfer` | maps that are large where the teacher's are |
| `RKD` | distances and angles between examples, as the teacher has them |

In a compiled step of JAX a class computes the losses of 2^22 logits and more
for some rows at a time, and again in its gradient, so that no float32 copy of
them all is made. Such a loss has second derivatives by `jax.grad`, not by
`jax.jvp`; the functions have both. A loss or an `example_weight` of your own is
computed of all rows at once.
"""

from keras_distill._compiled import on_logits
from keras_distill._features import Feature
from keras_distill.losses._attention_transfer import (
    AttentionTransfer,
    attention_transfer,
)
from keras_distill.losses._cosine_distance import (
    CosineDistance,
    cosine_distance,
)
from keras_distill.losses._dist import DIST, dist
from keras_distill.losses._divergences import (
    JensenShannon,
    ReverseKL,
    jensen_shannon,
    reverse_kl,
)
from keras_distill.losses._dkd import DKD, dkd
from keras_distill.losses._hard_labels import HardLabels, hard_labels
from keras_distill.losses._logit_matching import LogitMatching, logit_matching
from keras_distill.losses._nkd import NKD, nkd
from keras_distill.losses._rkd import RKD, rkd
from keras_distill.losses._sigmoid_targets import (
    SigmoidTargets,
    sigmoid_targets,
)
from keras_distill.losses._soft_targets import SoftTargets, soft_targets
from keras_distill.losses._standardized import Standardized
from keras_distill.losses._sum import Sum
from keras_distill.losses._ttm import TTM, ttm
from keras_distill.losses._wttm import WTTM, wttm

__all__ = [
    "AttentionTransfer",
    "CosineDistance",
    "DIST",
    "DKD",
    "Feature",
    "HardLabels",
    "JensenShannon",
    "LogitMatching",
    "NKD",
    "RKD",
    "ReverseKL",
    "SigmoidTargets",
    "SoftTargets",
    "Standardized",
    "Sum",
    "TTM",
    "WTTM",
    "attention_transfer",
    "cosine_distance",
    "dist",
    "dkd",
    "hard_labels",
    "jensen_shannon",
    "logit_matching",
    "nkd",
    "on_logits",
    "reverse_kl",
    "rkd",
    "sigmoid_targets",
    "soft_targets",
    "ttm",
    "wttm",
]
