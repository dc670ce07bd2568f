"""Frames of spoken digits with their states, as plain frames or as views."""

from dataclasses import dataclass

import numpy as np

from benchmarks.paper.speech import BANDS, CONTEXT, LEFT, Recordings

PARTS = 5  # of a digit, equally long: its states
STATES = 10 * PARTS
# Of a view, in standard deviations of a band, and in bands.
NOISE, OFFSET, MASKED = 0.3, 0.3, 8


@dataclass(frozen=True)
class Frames:
    """All frames of some recordings, one row each.

    Args:
        features: Normalised energies, shape `(frames, BANDS)`.
        windows: The rows that each frame is heard with, `(frames, CONTEXT)`.
        states: What a network is to name, between 0 and `STATES`.
        digits: Of the recordings.
        utterances: Numbers of the recordings.
        takes: Of the recordings.
    """

    features: np.ndarray
    windows: np.ndarray
    states: np.ndarray
    digits: np.ndarray
    utterances: np.ndarray
    takes: np.ndarray

    def __len__(self) -> int:
        return len(self.states)

    def plain(self) -> np.ndarray:
        """Frames in their context, shape `(frames, CONTEXT * BANDS)`."""
        return self.in_context(self.features, np.arange(len(self)))

    def in_context(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return features[self.windows[rows]].reshape(len(rows), -1)

    def view(self, random: np.random.Generator) -> np.ndarray:
        """The features as another microphone might have heard them.

        Each value has noise added; each band of a recording is as much louder
        or softer throughout, and some neighbouring bands of it are silenced.
        """
        shape = self.features.shape
        seen = random.standard_normal(shape, "float32") * np.float32(NOISE)
        seen += self.features
        _, recording = np.unique(self.utterances, return_inverse=True)
        count = recording.max() + 1
        offset = random.normal(0, OFFSET, (count, BANDS)).astype("float32")
        seen += offset[recording]
        seen[masked_bands(random, count)[recording]] = 0
        return seen

    def of(self, takes: np.ndarray) -> "Frames":
        """The frames of these takes alone."""
        kept = np.flatnonzero(np.isin(self.takes, takes))
        place = np.full(len(self), -1)
        place[kept] = np.arange(len(kept))
        return Frames(
            self.features[kept],
            place[self.windows[kept]],
            self.states[kept],
            self.digits[kept],
            self.utterances[kept],
            self.takes[kept],
        )


def masked_bands(random: np.random.Generator, count: int) -> np.ndarray:
    """Up to `MASKED` neighbouring bands of each recording, a mask."""
    width = random.integers(0, MASKED + 1, (count, 1))
    first = random.integers(0, BANDS - width + 1)
    bands = np.arange(BANDS)
    return (bands >= first) & (bands < first + width)


def frames(
    data: Recordings, chosen: np.ndarray, training: np.ndarray
) -> Frames:
    """The frames of the recordings that are chosen.

    Beyond the ends of a recording its first and last frames are repeated.

    Args:
        data: `Recordings`.
        chosen: Mask over recordings.
        training: Mask of the recordings whose mean and standard deviation
            normalise each band.
    """
    known = np.concatenate([data.features[i] for i in np.flatnonzero(training)])
    numbers = np.flatnonzero(chosen)
    lengths = np.array([len(data.features[i]) for i in numbers])
    utterances = np.repeat(numbers, lengths)
    features = np.concatenate([data.features[i] for i in numbers])
    parts = np.concatenate([PARTS * np.arange(n) // n for n in lengths])
    return Frames(
        ((features - known.mean(axis=0)) / known.std(axis=0)).astype("float32"),
        windows(lengths),
        (PARTS * data.digits[utterances] + parts).astype("int32"),
        data.digits[utterances],
        utterances,
        data.takes[utterances],
    )


def windows(lengths: np.ndarray) -> np.ndarray:
    """Rows of the neighbours of each row, which stay within a recording."""
    ends = np.repeat(np.cumsum(lengths), lengths)
    starts = ends - np.repeat(lengths, lengths)
    around = np.arange(len(ends))[:, None] + np.arange(CONTEXT) - LEFT
    return np.clip(around, starts[:, None], ends[:, None] - 1)
