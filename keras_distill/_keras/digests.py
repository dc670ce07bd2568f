"""Digests of arrays, equal however the arrays are laid out over devices.

Each element is mixed with its place, and the results are added up modulo 2^64:
a device adds up what it has, in any order, and no array is ever put together.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill._keras.processes import gathered, is_spread

# SplitMix64 (Steele, Lea and Flood 2014), whose state is the word of an element
# and, as its number of steps, the element's place. A further round makes a
# second sum: 128 bits in all.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = [
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
]
_LAST = np.uint64(31)
_SUMS = 2
_CHUNK = 1 << 15  # Elements that stay in the processor's cache.


class Piece(NamedTuple):
    """A part of an array, and where it begins."""

    values: np.ndarray
    start: tuple[int, ...]


def sums(arrays: Sequence[Any]) -> np.ndarray:
    """Two sums for each array of a backend, shape `(arrays, 2)`.

    Where arrays are spread over the processes of JAX, all processes must call
    it, as they do when they save a model.
    """
    found = np.array([_sums(array) for array in arrays], "uint64")
    found = found.reshape(-1, _SUMS)
    spread = [i for i, array in enumerate(arrays) if is_spread(array)]
    if spread:
        found[spread] = _over_processes(found[spread])
    return found


def _sums(array: Any) -> np.ndarray:
    shape, total = tuple(array.shape), np.zeros(_SUMS, "uint64")
    for piece in _pieces(array):
        total += _sums_of_piece(piece, shape)
    return total


def _pieces(array: Any) -> Iterator[Piece]:
    """What this process is to add up."""
    if getattr(array, "is_fully_replicated", True):
        values = keras.ops.convert_to_numpy(array)
        yield Piece(values, (0,) * values.ndim)
        return
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            start = tuple(part.start or 0 for part in shard.index)
            yield Piece(np.asarray(shard.data), start)


def _over_processes(partial: np.ndarray) -> np.ndarray:
    return gathered(partial.view("uint32")).view("uint64").sum(axis=0)


def _sums_of_piece(piece: Piece, shape: tuple[int, ...]) -> np.ndarray:
    words = np.asarray(piece.values, order="C")
    size = min(words.itemsize, 8)
    parts = words.itemsize // size
    words = words.reshape(-1).view(f"u{size}").reshape(*words.shape, parts)
    whole, start = (*shape, parts), (*piece.start, 0)
    flat, total = words.reshape(-1), np.zeros(_SUMS, "uint64")
    for lo in range(0, flat.size, _CHUNK):
        part = flat[lo : lo + _CHUNK]
        places = np.arange(lo, lo + part.size)
        if words.shape != whole:
            places = _places_in(whole, places, words.shape, start)
        total += _mixed(part, places.astype("uint64"))
    return total


def _places_in(
    whole: tuple[int, ...],
    places: np.ndarray,
    shape: tuple[int, ...],
    start: tuple[int, ...],
) -> np.ndarray:
    """Places in a whole array of places in a piece of it."""
    axes = np.unravel_index(places, shape)
    moved = [axis + first for axis, first in zip(axes, start, strict=True)]
    return np.ravel_multi_index(moved, whole)


def _mixed(words: np.ndarray, places: np.ndarray) -> np.ndarray:
    x = places
    x *= _STEP
    x += words
    for shift, factor in _ROUNDS:
        x ^= x >> shift
        x *= factor
    x ^= x >> _LAST
    first = x.sum()
    shift, factor = _ROUNDS[0]
    x *= factor
    x ^= x >> shift
    return np.array([first, x.sum()], "uint64")
