# %% [markdown]
"""Spoken digits: one acoustic model learns what an ensemble knows.

    KERAS_BACKEND=jax python examples/spoken_digits.py          # a minute
    KERAS_BACKEND=jax python examples/spoken_digits.py --short  # seconds

KERAS_BACKEND may be tensorflow or torch as well. Needs tensorflow-datasets,
which downloads the Free Spoken Digit Dataset (or finds it in the folder that
TFDS_DATA_DIR names), and for that tensorflow and pydub:
`pip install -e ".[jax,tensorflow,benchmarks]" pydub`, in a clone. The short
mode has made-up sounds and needs none of these. New to this? Begin with
quickstart.py.

Hinton et al. 2015, section 4, made small. Expected on JAX:

                  frame accuracy  utterance error
    single, mean           49.4%            35.2%
    ensemble               50.7%            34.7%
    distilled              49.7%            38.5%

Mean frame accuracies of 5 runs: 49.1, 50.5 and 49.3 %. In each run the ensemble
is 1.3 to 1.8 points better than its members. The distilled network is between
1.9 points worse and 2.1 better than they: what it keeps of the gain (the paper:
86 %) is lost in the noise. `python -m benchmarks.paper.spoken_digits` keeps it:
with larger networks, longer training, and views of parts of digits drawn anew.
"""

# %%
import sys
import tempfile

import keras
import numpy as np
from keras import layers, ops

import keras_distill as kd

SHORT = "--short" in sys.argv
MEMBERS, EPOCHS = (2, 2) if SHORT else (4, 7)
SEED = 0  # of initial weights, of dropout, and of the order of the frames

# %% [markdown]
# ## Data
# 3,000 recordings of 6 speakers who say 0 to 9, 50 times each, at 8 kHz. We
# test on two speakers whom the networks never hear in training.

# %%
if SHORT:  # Tones, higher and longer for larger digits.
    digits = np.arange(180) % 10
    speakers = np.repeat(["george", "nicolas", "theo"], 60)
    sounds = [
        np.sin((0.2 + 0.06 * digit) * np.arange(2000 + 100 * digit))
        for digit in digits
    ]
else:
    import tensorflow_datasets as tfds

    recordings = list(tfds.as_numpy(tfds.load("spoken_digit", split="train")))
    sounds = [recording["audio"] / 32768 for recording in recordings]
    digits = np.array([recording["label"] for recording in recordings])
    names = [recording["audio/filename"].decode() for recording in recordings]
    speakers = np.array([name.split("_")[1] for name in names])

unseen = np.isin(speakers, ["george", "jackson"])

# %% [markdown]
# ## Features
# The energies, in decibels, of 40 Mel bands, in windows of 25 ms every 10 ms.
# Keras has a layer for that; a model of this layer alone transforms all sounds,
# padded to the same length.

# %%
samples = max(len(sound) for sound in sounds)
filterbank = layers.MelSpectrogram(
    fft_length=512,
    sequence_length=200,
    sequence_stride=80,
    sampling_rate=8000,
    num_mel_bins=40,
    min_power=1e-6,
    top_db=1000.0,  # The layer's own floor depends on the rest of the batch.
)
energies = keras.Sequential([keras.Input((samples,)), filterbank]).predict(
    np.stack([np.pad(sound, (0, samples - len(sound))) for sound in sounds]),
    batch_size=60,
    verbose=0,
)
features = [
    energy.T[: 1 + len(sound) // 80]
    for energy, sound in zip(energies, sounds, strict=True)
]

# %% [markdown]
# A network hears a frame between its 7 neighbours on either side, 0.16 s. Bands
# are normalised by what is known in training.

# %%
known = np.concatenate([features[i] for i in np.flatnonzero(~unseen)])
mean, deviation = known.mean(axis=0), known.std(axis=0)


def in_context(chosen):
    """Frames with their context in a row, and the recording of each."""
    x, recording = [], []
    for i in np.flatnonzero(chosen):
        frames = (features[i] - mean) / deviation
        padded = np.pad(frames, ((7, 7), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 15, axis=0)
        x.append(windows.reshape(len(frames), 600))
        recording += [i] * len(frames)
    return np.concatenate(x).astype("float32"), np.array(recording)


x, recording = in_context(~unseen)
y = digits[recording]
x_test, recording_test = in_context(unseen)
y_test = digits[recording_test]
print(f"{len(x)} frames to train on, {len(x_test)} to test on")

# %% [markdown]
# ## An ensemble
# Four networks, alike but for the seed. `kd.Ensemble` is a Keras model whose
# logits are those of the mean of their probabilities.


# %%
def network(seed):
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(128, "relu"), layers.Dropout(0.1)]
    hidden += [layers.Dense(128, "relu"), layers.Dropout(0.1)]
    return keras.Sequential([keras.Input((600,)), *hidden, layers.Dense(10)])


def fit(model, *data):
    """Trains at a learning rate that falls to 0 along a cosine."""
    steps = EPOCHS * -(-len(x) // 250)
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), cross_entropy)
    model.fit(*data, batch_size=250, epochs=EPOCHS, verbose=0)


members = []
for member in range(MEMBERS):
    print(f"network {member + 1} of {MEMBERS}", flush=True)
    members.append(network(seed=10 * SEED + member))
    fit(members[-1], x, y)
ensemble = kd.Ensemble(members)

# %% [markdown]
# ## One network in place of four
# The ensemble hears the training frames once, and a cache keeps what it says. A
# fifth network of the same size learns from that and from the labels. Its
# temperature did best of 1, 2, 5 and 10 on training speakers held out in turn.

# %%
with tempfile.TemporaryDirectory() as folder:
    cache = kd.TeacherCache.build(
        ensemble, (x, y), folder, batch_size=1000, verbose=0
    )
    distiller = kd.Distiller(
        None,  # The teacher's logits come with the data.
        network(seed=10 * SEED + MEMBERS),
        kd.losses.SoftTargets(temperature=2.0),
        hard_loss_weight=0.5,
        soft_loss_weight=0.5,
    )
    fit(distiller, cache.attach((x, y)))

# %% [markdown]
# ## How well do they hear?
# A frame is right if it gets the digit of its recording. The recording as a
# whole gets the digit with the largest mean probability over its frames.


# %%
def scores(model):
    logits = model.predict(x_test, batch_size=1000, verbose=0)
    p = ops.convert_to_numpy(ops.softmax(logits))
    totals = np.zeros((len(sounds), 10))
    np.add.at(totals, recording_test, p)
    wrong = totals[unseen].argmax(axis=-1) != digits[unseen]
    return np.mean(p.argmax(axis=-1) == y_test), np.mean(wrong)


def print_row(name, *models):
    accuracy, error = np.mean([scores(model) for model in models], axis=0)
    print(f"{name:14}{accuracy:>14.1%}{error:>17.1%}")


print(f"{'':14}frame accuracy  utterance error")
print_row("single, mean", *members)
print_row("ensemble", ensemble)
print_row("distilled", distiller.student)
