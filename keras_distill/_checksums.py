"""Recognises the inputs of an example, whatever dataset they come from."""

import functools
import zlib
from typing import Any

import keras
import numpy as np

# Elements of each input whose place counts in its checksum: enough for a flip
# or crop to show, and little enough to be checked in every epoch.
_SAMPLE = 256
_WORDS = 8
PADDING = (
    "Pad all inputs of the dataset to one length, and leave the padding out of "
    "the losses by a mask or by weights of 0, as kd.TeacherCache describes."
)


def arrays(x: Any) -> Any:
    """The same structure of inputs, as NumPy arrays."""
    return keras.tree.map_structure(array, x)


def array(tensor: Any) -> np.ndarray:
    """A tensor of any backend, or what NumPy takes for one, as an array."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none.
            tensor = tensor.float()
    found = np.asarray(tensor)
    if found.dtype.kind == "O" and found.size:
        _require_text(found.flat[0])
    return found


def _require_text(element: Any) -> None:
    """Refuses what NumPy holds as an object because its shapes differ."""
    if hasattr(element, "shape") or isinstance(element, list | tuple):
        if not isinstance(element, str | bytes):
            raise ValueError(
                "The inputs of all examples must have one shape. Received: "
                f"ragged inputs, of {type(element).__name__}. {PADDING}"
            )


def checks(x: Any) -> np.ndarray:
    """CRC-32 of each example's inputs, shape `(batch,)`.

    Of a large input it covers 256 elements at fixed random places, and all of
    its bytes folded by XOR into 64 bytes, which is faster than a CRC of all.
    """
    leaves = map(_elements, keras.tree.flatten(x))
    parts = [part for leaf in leaves for part in _digested(leaf)]
    rows = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return np.fromiter(map(zlib.crc32, rows), "uint32", len(rows))


def _elements(leaf: Any) -> np.ndarray:
    """The little-endian elements of an input, shape `(batch, elements)`."""
    examples = array(leaf)
    flat = examples.reshape(len(examples), -1)
    if flat.dtype.kind in "OSU":
        flat = np.array([_text_crc32(row) for row in flat])[:, None]
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False)


def _digested(elements: np.ndarray) -> list[np.ndarray]:
    size = elements.shape[1]
    if size <= _SAMPLE:
        return [_bytes(elements)]
    sample = elements[:, _places(size)]
    return [_bytes(sample), _folded(_bytes(elements))]


def _bytes(elements: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(elements).view("uint8")


@functools.cache
def _places(size: int) -> np.ndarray:
    # Not evenly spaced, which could miss all that an image shows.
    return np.sort(np.random.RandomState(0).randint(0, size, _SAMPLE))


def _folded(rows: np.ndarray) -> np.ndarray:
    """XOR of all 64-byte blocks of each row, shape `(batch, 64)`."""
    block = 8 * _WORDS
    whole = rows.shape[1] // block * block
    words = np.ascontiguousarray(rows[:, :whole]).view("uint64")
    words = words.reshape(len(rows), -1, _WORDS)
    folded = np.bitwise_xor.reduce(words, axis=1).view("uint8")
    return np.concatenate([folded, rows[:, whole:]], axis=1)


def _text_crc32(row: np.ndarray) -> np.uint32:
    parts = [p if isinstance(p, bytes) else str(p).encode() for p in row]
    return np.uint32(zlib.crc32(b"\0".join(parts)))


def spec(x: Any) -> list[dict]:
    """Place, shape and dtype of each input of one example."""
    return [
        {
            "name": "/".join(map(str, path)),
            "shape": list(array(leaf).shape[1:]),
            "dtype": _dtype(array(leaf)),
        }
        for path, leaf in keras.tree.flatten_with_path(x)
    ]


def in_words(found: list[dict], other: list[dict]) -> str:
    """Those of some inputs, as `spec` gives them, that differ from others."""
    leaves = [
        f"{leaf['name'] or 'inputs'} of shape {tuple(leaf['shape'])} and dtype "
        f"{leaf['dtype']}"
        for leaf in found
        if leaf not in other
    ]
    return ", ".join(leaves) or "no other inputs"


def _dtype(leaf: np.ndarray) -> str:
    return "string" if leaf.dtype.kind in "OSU" else str(leaf.dtype)


def rows(x: Any) -> int:
    """Number of examples in a batch of inputs."""
    return len(keras.tree.flatten(x)[0])
