"""How the logits of one example are laid out in a shard.

A record is a NumPy structured scalar: a checksum of the example's inputs, and
its logits, either all of them or the k largest with the log of the rest.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_distill import _checksums, _data_checks
from keras_distill._attached import TopKLogits
from keras_distill._numpy import logsumexp
from keras_distill._validation import is_whole

DTYPES = ("float32", "float16", "bfloat16")
_LARGEST = {"float32": np.inf, "float16": 65504.0, "bfloat16": 3.38e38}


@dataclass(frozen=True)
class Layout:
    """What a record holds.

    Args:
        shape: Shape of one example's logits, `(..., classes)`.
        dtype: One of `DTYPES`.
        top_k: Number of logits kept per position, None for all.
    """

    shape: tuple[int, ...]
    dtype: str
    top_k: int | None = None

    def __post_init__(self) -> None:
        k = self.top_k
        if k is None:
            return
        if not is_whole(k) or not 1 <= k <= self.classes:
            raise ValueError(
                f"`top_k` must be a whole number from 1 to {self.classes}, the "
                f"number of classes. Received: top_k={k!r}. Pass None to keep "
                "all logits."
            )

    @property
    def classes(self) -> int:
        return self.shape[-1]

    @property
    def numpy_dtype(self) -> np.dtype:
        """The structured dtype of a record, little-endian everywhere."""
        kept = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
        shape = self.shape
        fields: list[tuple] = [("inputs_crc32", "<u4")]
        if self.top_k is not None:
            shape = (*self.shape[:-1], self.top_k)
            index = "<u2" if self.classes <= 2**16 else "<u4"
            fields += [("indices", index, shape)]
            fields += [("log_rest", "<f4", self.shape[:-1])]
        return np.dtype([*fields, ("logits", kept[self.dtype], shape)])

    def to_json(self) -> dict:
        k = None if self.top_k is None else int(self.top_k)
        return {"shape": list(self.shape), "dtype": self.dtype, "top_k": k}

    @classmethod
    def from_json(cls, settings: dict) -> "Layout":
        return cls(**{**settings, "shape": tuple(settings["shape"])})

    def encode(self, logits: np.ndarray, checks: np.ndarray) -> np.ndarray:
        """Records of a batch of float32 logits and input checksums."""
        if len(logits) != len(checks):
            raise ValueError(
                "The teacher must give logits for each example. Received: "
                f"logits of {len(logits)} examples for a batch of "
                f"{len(checks)}. Return one row per example, in the order of "
                "the inputs."
            )
        if logits.shape[1:] != self.shape:
            raise ValueError(
                "The teacher must give logits of the same shape for each "
                f"example. Received: {logits.shape[1:]} after {self.shape}. "
                f"{_checksums.PADDING}"
            )
        _data_checks.finite_logits("teacher", logits)
        self._check_range(logits)
        records = np.zeros(len(logits), self.numpy_dtype)
        records["inputs_crc32"] = checks
        if self.top_k is not None:
            indices, log_rest = _largest(logits, self.top_k)
            records["indices"], records["log_rest"] = indices, log_rest
            logits = np.take_along_axis(logits, indices, axis=-1)
        records["logits"] = _to_stored(logits, self.dtype)
        return records

    def _check_range(self, logits: np.ndarray) -> None:
        """Refuses logits that the dtype cannot hold."""
        peak = max(logits.max(), -logits.min())
        if peak > _LARGEST[self.dtype]:
            raise ValueError(
                f"The teacher's logits do not fit into {self.dtype}. Received: "
                f"a logit of magnitude {peak:.4g}. Pass dtype='bfloat16' or "
                "'float32'."
            )

    def decode(self, records: np.ndarray) -> Any:
        """Logits as they are attached: an array, or `TopKLogits`."""
        logits = _from_stored(records["logits"], self.dtype)
        if self.top_k is None:
            return logits
        indices = np.ascontiguousarray(records["indices"]).astype("int32")
        log_rest = np.ascontiguousarray(records["log_rest"])
        return TopKLogits(logits, indices, {str(self.classes): log_rest})


def _largest(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the k largest logits, and logsumexp of all the others."""
    classes = logits.shape[-1]
    kept = np.argpartition(logits, classes - k, axis=-1)[..., classes - k :]
    values = np.take_along_axis(logits, kept, axis=-1)
    order = np.argsort(-values, axis=-1, kind="stable")
    kept = np.take_along_axis(kept, order, axis=-1)
    if k == classes:
        return kept, np.full(logits.shape[:-1], -np.inf)
    others = logits.astype("float64")
    np.put_along_axis(others, kept, -np.inf, axis=-1)
    return kept, logsumexp(others)


def _to_stored(logits: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return logits.astype(dtype)
    # Round to nearest, ties to even, on the bits of a float32.
    bits = logits.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _from_stored(stored: np.ndarray, dtype: str) -> np.ndarray:
    stored = np.ascontiguousarray(stored)
    if dtype != "bfloat16":
        return stored
    return (stored.astype("<u4") << 16).view("<f4")


def to_float32(outputs: Any) -> np.ndarray:
    """A teacher's outputs as a NumPy array on the host."""
    return keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
