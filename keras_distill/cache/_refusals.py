"""Refuses teachers, datasets and examples that a cache was not made from."""

from typing import Any

import numpy as np

from keras_distill import _checksums
from keras_distill._keras.fingerprint import shown
from keras_distill.cache._batches import Source
from keras_distill.cache._teachers import fingerprint_of

_ORDER_ADVICE = (
    "The dataset is shuffled, augmented, filtered or another one than when the "
    "cache was built. Attach before shuffle() and random augmentation, with "
    "the same preprocessing; to cache augmented views, give the augmentation "
    "fixed seeds."
)


def require_teacher(expected: str, teacher: Any, given: str | None) -> None:
    """Refuses another model or another fingerprint, where one is given."""
    if teacher is None and given is None:
        return
    found = given if teacher is None else fingerprint_of(teacher, given)
    if found != expected:
        raise ValueError(
            "This cache was made by another teacher. Received: a teacher with "
            f"fingerprint {shown(str(found))}, expected {shown(expected)}. "
            "Build a cache for it in another folder."
        )


def require_range(start: int, stop: int, examples: int) -> None:
    """Refuses examples that are not there."""
    if not 0 <= start <= stop <= examples:
        raise ValueError(
            "The cache does not hold these examples. Received: examples "
            f"{start} to {stop}, expected a range within 0 to {examples}."
        )


def require_inputs(x: Any, expected: list[dict]) -> None:
    """Refuses inputs of other names, shapes or dtypes."""
    found = _checksums.spec(x)
    if found != expected:
        raise ValueError(
            "The dataset is not the one that the cache was built from. "
            f"Received: {_checksums.in_words(found, expected)}, expected "
            f"{_checksums.in_words(expected, found)}. Apply the same "
            "preprocessing as before."
        )


def require_count(source: Source, expected: int) -> None:
    """Refuses more or fewer examples, as far as their number is known."""
    sizes = {-(-expected // source.batch_size)}
    sizes.add(expected // source.batch_size)  # drop_remainder
    known = source.examples is not None
    if known and source.examples != expected or source.batches not in sizes:
        found = (
            f"{source.examples} examples"
            if known
            else f"{source.batches} batches of {source.batch_size} examples"
        )
        raise ValueError(
            "The dataset is not the one that the cache was built from. "
            f"Received: {found}, expected {expected} examples. Attach to all "
            "of them, before filter(), take() and repeat()."
        )


def require_checks(start: int, found: np.ndarray, records: np.ndarray) -> None:
    """Refuses examples whose inputs have another checksum than before."""
    wrong = np.flatnonzero(records["inputs_crc32"] != found)
    if wrong.size:
        raise ValueError(
            "The inputs are not those that the teacher saw. Received: "
            f"{wrong.size} of {len(found)} examples with another "
            f"checksum, first example {start + wrong[0]}. {_ORDER_ADVICE}"
        )
