"""Spoken digits: the recordings, their features, frames and splits.

Mel filterbank energies every 10 ms, as in section 4 of Hinton et al. 2015; a
network hears 15 frames and names the digit that is being spoken, or a part of
it. An utterance is the digit with the largest mean probability over its frames.
"""

import itertools
import pathlib
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

SAMPLING_RATE = 8000
WINDOW, HOP = 200, 80  # samples: 25 ms and 10 ms
BANDS = 40
LEFT, RIGHT = 7, 7  # frames of context
CONTEXT = LEFT + 1 + RIGHT
TEST_TAKES = range(5)  # the official test set
HELD_OUT_TAKES = range(5, 10)  # for choices


@dataclass(frozen=True)
class Recordings:
    """Utterances: log-Mel frames, spoken digit, speaker and take."""

    features: list[np.ndarray]  # of shape (frames, BANDS)
    digits: np.ndarray
    speakers: np.ndarray
    takes: np.ndarray


def load(data_dir: str | None) -> Recordings:
    """The 3,000 recordings of TFDS's `spoken_digit`, in order of their names.

    Args:
        data_dir: Folder of TFDS data; the data are downloaded if it lacks them.
    """
    import tensorflow_datasets as tfds

    data = tfds.load("spoken_digit", split="train", data_dir=data_dir)
    sounds = {
        example["audio/filename"].decode(): example["audio"]
        for example in tfds.as_numpy(data)
    }
    names = sorted(sounds)
    digits, speakers, takes = zip(
        *(pathlib.Path(name).stem.split("_") for name in names), strict=True
    )
    return Recordings(
        log_mel([sounds[name] / 32768 for name in names]),
        np.array(digits, "int32"),
        np.array(speakers),
        np.array(takes, "int32"),
    )


def made_up() -> Recordings:
    """A few noisy tones in place of digits, for a quick check."""
    random = np.random.default_rng(0)
    names, sounds = [], []
    for digit, speaker, take in itertools.product(
        range(10), range(3), [0, 1, 5, 6, 10, 11]
    ):
        time = np.arange(random.integers(1600, 4800)) / SAMPLING_RATE
        pitch = (300 + 80 * digit) * (1 + 0.02 * speaker)
        tone = 0.1 * np.sin(2 * np.pi * pitch * time * (1 + time))
        sounds.append(tone + random.normal(0, 0.02, len(time)))
        names.append((digit, f"speaker {speaker}", take))
    digits, speakers, takes = map(np.array, zip(*names, strict=True))
    return Recordings(log_mel(sounds), digits.astype("int32"), speakers, takes)


def log_mel(
    sounds: list[np.ndarray], batch_size: int = 256
) -> list[np.ndarray]:
    """Filterbank energies in decibels, one array per sound.

    Only windows that lie within the sound count. Sounds are padded to
    multiples of half a second, so that few shapes are compiled.

    Args:
        sounds: Arrays of samples between -1 and 1.
        batch_size: Sounds that are transformed at once.
    """
    # The layer's floor is relative to the loudest sound of the batch; a large
    # `top_db` leaves only the absolute floor `min_power`.
    filterbank = layers.MelSpectrogram(
        fft_length=512,
        sequence_stride=HOP,
        sequence_length=WINDOW,
        sampling_rate=SAMPLING_RATE,
        num_mel_bins=BANDS,
        min_power=1e-6,
        top_db=1000.0,
    )
    # The layer centres its window t at sample t * HOP. With this many zeros in
    # front, window 2 begins at the first sample.
    front = 2 * HOP - WINDOW // 2
    lengths = np.array([len(sound) for sound in sounds])
    padded = front + -(-lengths // 4000) * 4000
    features: list = [None] * len(sounds)
    for length in np.unique(padded):
        (group,) = np.nonzero(padded == length)
        for start in range(0, len(group), batch_size):
            some = group[start : start + batch_size]
            batch = np.zeros((len(some), length), "float32")
            for row, i in zip(batch, some, strict=True):
                row[front : front + lengths[i]] = sounds[i]
            energies = ops.convert_to_numpy(filterbank(batch))
            for energy, i in zip(energies, some, strict=True):
                windows = 1 + (lengths[i] - WINDOW) // HOP
                features[i] = energy.T[2 : 2 + windows].copy()
    return features


def split_by_take(data: Recordings, held_out: bool = False) -> tuple:
    """Two masks over utterances: for training, and for evaluation.

    Evaluation is on the official test takes or, with `held_out`, on training
    takes that are then left out of training.
    """
    test = np.isin(data.takes, TEST_TAKES)
    if not held_out:
        return ~test, test
    chosen = np.isin(data.takes, HELD_OUT_TAKES)
    return ~(test | chosen), chosen


def frames(
    data: Recordings, chosen: np.ndarray, training: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames in their context, with their digits and utterances.

    Beyond the ends of an utterance its first and last frames are repeated.

    Args:
        data: `Recordings`.
        chosen: Mask over utterances.
        training: Mask of the utterances whose mean and standard deviation
            normalise each band.

    Returns:
        `(x, y, utterance)`: `x` of shape `(frames, CONTEXT * BANDS)`, the digit
        of each frame, and the index of its utterance in `data`.
    """
    known = np.concatenate([data.features[i] for i in np.flatnonzero(training)])
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    numbers = np.flatnonzero(chosen)
    x = np.concatenate(
        [in_context((data.features[i] - mean) / deviation) for i in numbers]
    )
    lengths = [len(data.features[i]) for i in numbers]
    utterance = np.repeat(numbers, lengths)
    return x.astype("float32"), data.digits[utterance], utterance


def in_context(features: np.ndarray) -> np.ndarray:
    """Each frame after its left and before its right neighbours, in a row."""
    padded = np.pad(features, ((LEFT, RIGHT), (0, 0)), mode="edge")
    windows = np.arange(len(features))[:, None] + np.arange(CONTEXT)
    return padded[windows].reshape(len(features), -1)


def network(
    units: int, dropout: float, hidden: int = 2, classes: int = 10
) -> keras.Model:
    """A classifier of frames that ends in logits."""
    stack = [keras.Input((CONTEXT * BANDS,))]
    for i in range(hidden):
        stack.append(layers.Dense(units, "relu"))
        # A fixed seed: networks differ in their initial weights only.
        if dropout:
            stack.append(layers.Dropout(dropout, seed=i))
    return keras.Sequential([*stack, layers.Dense(classes)])


def log_probabilities(model: keras.Model, x: np.ndarray) -> np.ndarray:
    logits = model.predict(x, batch_size=4096, verbose=0)
    return ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))


def utterance_error(
    model: keras.Model, x: np.ndarray, y: np.ndarray, utterance: np.ndarray
) -> float:
    """Share of utterances with a wrong digit."""
    decisions, digits = decide(
        np.exp(log_probabilities(model, x)), y, utterance
    )
    return float(np.mean(decisions != digits))


def decide(
    probabilities: np.ndarray, y: np.ndarray, utterance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per utterance: the digit with the largest mean, and the true one."""
    _, first, inverse = np.unique(
        utterance, return_index=True, return_inverse=True
    )
    totals = np.zeros((len(first), probabilities.shape[-1]))
    np.add.at(totals, inverse, probabilities)
    return np.argmax(totals, axis=-1), y[first]
