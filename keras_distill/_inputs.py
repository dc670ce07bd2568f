"""Recognises the inputs of an example, whatever dataset they come from."""

import zlib
from typing import Any

import keras
import numpy as np

# Elements of each input that enter its checksum: enough for any shuffle, crop,
# flip or noise to show, and little enough to be checked in every epoch.
_SAMPLE = 256


def arrays(x: Any) -> Any:
    """The same structure of inputs, as NumPy arrays."""
    return keras.tree.map_structure(_array, x)


def _array(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor)


def checks(x: Any) -> np.ndarray:
    """CRC-32 of a sample of each example's inputs, shape `(batch,)`.

    The sample is of up to 256 elements of each input, evenly spaced.
    """
    leaves = [_sample(_array(leaf)) for leaf in keras.tree.flatten(x)]
    rows = np.ascontiguousarray(np.concatenate(leaves, axis=1))
    return np.fromiter(map(zlib.crc32, rows), "uint32", len(rows))


def _sample(array: np.ndarray) -> np.ndarray:
    """Bytes of the sampled elements, shape `(batch, bytes)`."""
    flat = array.reshape(len(array), -1)
    size = flat.shape[1]
    if size > _SAMPLE:
        flat = flat[:, np.linspace(0, size - 1, _SAMPLE).astype("int64")]
    if flat.dtype.kind in "OSU":
        flat = np.array([_text_crc32(row) for row in flat])[:, None]
    little = flat.dtype.newbyteorder("<")
    return np.ascontiguousarray(flat.astype(little, copy=False)).view("uint8")


def _text_crc32(row: np.ndarray) -> np.uint32:
    parts = [p if isinstance(p, bytes) else str(p).encode() for p in row]
    return np.uint32(zlib.crc32(b"\0".join(parts)))


def spec(x: Any) -> list[dict]:
    """Place, shape and dtype of each input of one example."""
    return [
        {
            "name": "/".join(map(str, path)),
            "shape": list(_array(leaf).shape[1:]),
            "dtype": _dtype(_array(leaf)),
        }
        for path, leaf in keras.tree.flatten_with_path(x)
    ]


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype.kind in "OSU" else str(array.dtype)


def rows(x: Any) -> int:
    """Number of examples in a batch of inputs."""
    return len(keras.tree.flatten(x)[0])
