"""Distillation losses: pure functions per example, then thin Loss classes.

Each function takes unnormalised logits of shape `(..., classes)` and gives one
number per distribution, shape `(...)`. It computes in log space, in at least
float32, and passes no gradient to the teacher. `Feature` compares inner layers,
by losses between features of shape `(batch, ..., channels)`.
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
from keras_distill.losses._dkd import DKD, dkd
from keras_distill.losses._logit_matching import LogitMatching, logit_matching
from keras_distill.losses._rkd import RKD, rkd
from keras_distill.losses._sigmoid_targets import (
    SigmoidTargets,
    sigmoid_targets,
)
from keras_distill.losses._soft_targets import SoftTargets, soft_targets
from keras_distill.losses._ttm import TTM, ttm
from keras_distill.losses._wttm import WTTM, wttm

__all__ = [
    "AttentionTransfer",
    "CosineDistance",
    "DKD",
    "Feature",
    "LogitMatching",
    "RKD",
    "SigmoidTargets",
    "SoftTargets",
    "TTM",
    "WTTM",
    "attention_transfer",
    "cosine_distance",
    "dkd",
    "logit_matching",
    "on_logits",
    "rkd",
    "sigmoid_targets",
    "soft_targets",
    "ttm",
    "wttm",
]
