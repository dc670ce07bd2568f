"""Spoken digits: one acoustic model learns what an ensemble knows.

    python examples/spoken_digits.py          # about 2 minutes on 2 cores
    python examples/spoken_digits.py --short  # seconds, on made-up sounds

Choose the backend with KERAS_BACKEND=jax, tensorflow or torch. Needs
matplotlib, tensorflow and tensorflow-datasets, which downloads the Free Spoken
Digit Dataset (and asks for pydub to prepare it); `--data_dir FOLDER` uses TFDS
data that you have. All of it comes with
`pip install -e ".[jax,tensorflow,benchmarks]" pydub`.

The setting of Hinton et al. 2015, section 4, made small: a network hears 15
frames of a recording, 0.16 s, and names the digit that is being spoken. Four
such networks, alike but for their initial weights, are better together than
each alone. A fifth of the same size is trained on the labels and on the soft
targets of the four, half and half. An utterance is the digit with the largest
mean probability over its frames. The test set are 1,000 recordings by 2
speakers who are not in the training set, 1,800 recordings by the 4 others.

Expected on JAX, from one run:

                frame accuracy   utterance error
single                   49.4%             37.3%  mean of 4
ensemble                 51.2%             34.9%
distilled                50.5%             36.4%

The single networks differ by 4 points, so one run proves little. On new takes
of known speakers they are right on 92 % of the frames, and a student at this
temperature gains nothing over them.

benchmarks/spoken_digits.py has ensembles of 10, several seeds and temperatures,
and speakers that were not heard in training; its choices are used here.

Writes to --out, the current folder by default: spoken_digits.png.
"""

import argparse
import itertools
import pathlib
import tempfile
import time
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

import keras_distill as kd

SAMPLING_RATE = 8000
WINDOW, HOP = 200, 80  # samples: 25 ms and 10 ms
BANDS = 40
LEFT, RIGHT = 7, 7  # frames of context
CONTEXT = LEFT + 1 + RIGHT
BATCH = 250
EPOCHS = 7
LEARNING_RATE = 4e-3
TEMPERATURE = 1.0
MEMBERS = 4
UNSEEN = 2  # speakers that the example tests on, the first in the alphabet
TEST_TAKES = range(5)  # the official test set
HELD_OUT_TAKES = range(5, 10)  # for choices


@dataclass(frozen=True)
class Recordings:
    """Utterances: log-Mel frames, spoken digit, speaker and take."""

    features: list  # of arrays of shape (frames, BANDS)
    digits: np.ndarray
    speakers: np.ndarray
    takes: np.ndarray


def load(data_dir=None):
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


def made_up():
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


def log_mel(sounds, batch_size=256):
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
    features = [None] * len(sounds)
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


def split_by_take(data, held_out=False):
    """Two masks over utterances: for training, and for evaluation.

    Evaluation is on the official test takes or, with `held_out`, on training
    takes that are then left out of training.
    """
    test = np.isin(data.takes, TEST_TAKES)
    if not held_out:
        return ~test, test
    chosen = np.isin(data.takes, HELD_OUT_TAKES)
    return ~(test | chosen), chosen


def split_by_speaker(data, speakers):
    """The training takes of the other speakers, and all takes of these."""
    unseen = np.isin(data.speakers, speakers)
    return ~unseen & ~np.isin(data.takes, TEST_TAKES), unseen


def frames(data, chosen, training=None):
    """Frames in their context, with their digits and utterances.

    Beyond the ends of an utterance its first and last frames are repeated.

    Args:
        data: `Recordings`.
        chosen: Mask over utterances.
        training: Mask of the utterances whose mean and standard deviation
            normalise each band; by default all but the official test takes.

    Returns:
        `(x, y, utterance)`: `x` of shape `(frames, CONTEXT * BANDS)`, the digit
        of each frame, and the index of its utterance in `data`.
    """
    if training is None:
        training, _ = split_by_take(data)
    known = np.concatenate([data.features[i] for i in np.flatnonzero(training)])
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    numbers = np.flatnonzero(chosen)
    x = np.concatenate(
        [in_context((data.features[i] - mean) / deviation) for i in numbers]
    )
    lengths = [len(data.features[i]) for i in numbers]
    utterance = np.repeat(numbers, lengths)
    return x.astype("float32"), data.digits[utterance], utterance


def in_context(features):
    """Each frame after its left and before its right neighbours, in a row."""
    padded = np.pad(features, ((LEFT, RIGHT), (0, 0)), mode="edge")
    windows = np.arange(len(features))[:, None] + np.arange(CONTEXT)
    return padded[windows].reshape(len(features), -1)


def network(units=128, hidden=2, dropout=0.1):
    """A classifier of frames that ends in logits."""
    stack = [keras.Input((CONTEXT * BANDS,))]
    for i in range(hidden):
        stack.append(layers.Dense(units, "relu"))
        # A fixed seed: networks differ in their initial weights only.
        if dropout:
            stack.append(layers.Dropout(dropout, seed=i))
    return keras.Sequential([*stack, layers.Dense(10)])


def compile_for(model, examples, epochs, rate):
    """Cross-entropy with the labels; a rate that falls to 0 along a cosine."""
    steps = epochs * -(-examples // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def fit(model, *data, epochs, order):
    """Trains on batches whose order depends on `order` alone."""
    keras.utils.set_random_seed(order)
    model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0)


def train(x, y, seed, order=0, epochs=EPOCHS, rate=LEARNING_RATE, **settings):
    """A network trained on the labels alone; arguments as for `distil`."""
    keras.utils.set_random_seed(seed)
    model = network(**settings)
    compile_for(model, len(x), epochs, rate)
    fit(model, x, y, epochs=epochs, order=order)
    return model


def distil(
    data,
    temperature,
    seed,
    order=0,
    epochs=EPOCHS,
    rate=LEARNING_RATE,
    **settings,
):
    """The same network, trained on labels and soft targets half and half.

    Args:
        data: What `kd.TeacherCache.attach` returns for `(x, y)`.
        temperature: Of teacher and student.
        seed: For the initial weights.
        order: Seed for the order of the frames.
        epochs: Passes over the frames.
        rate: The first learning rate.
        **settings: Passed to `network`.
    """
    keras.utils.set_random_seed(seed)
    distiller = kd.Distiller(
        None,
        network(**settings),
        kd.losses.SoftTargets(temperature),
        hard_loss_weight=0.5,
        soft_loss_weight=0.5,
    )
    compile_for(distiller, len(data[-1]), epochs, rate)
    fit(distiller, data, epochs=epochs, order=order)
    return distiller.student


def log_probabilities(model, x):
    logits = model.predict(x, batch_size=4096, verbose=0)
    return ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))


def frame_accuracy(model, x, y):
    """Share of frames that are given the digit of their utterance."""
    return float(np.mean(np.argmax(log_probabilities(model, x), -1) == y))


def utterance_error(model, x, y, utterance):
    """Share of utterances with a wrong digit."""
    decisions, digits = decide(
        np.exp(log_probabilities(model, x)), y, utterance
    )
    return float(np.mean(decisions != digits))


def decide(probabilities, y, utterance):
    """Per utterance: the digit with the largest mean, and the true one."""
    _, first, inverse = np.unique(
        utterance, return_index=True, return_inverse=True
    )
    totals = np.zeros((len(first), probabilities.shape[-1]))
    np.add.at(totals, inverse, probabilities)
    return np.argmax(totals, axis=-1), y[first]


def soft_targets(model, x, temperature):
    """Probabilities at a temperature."""
    return ops.convert_to_numpy(
        ops.softmax(log_probabilities(model, x) / temperature, axis=-1)
    )


def compare(training, test, count, epochs):
    """The ensemble, and the scores of each network on test frames."""
    members = []
    for seed in range(count):
        print(f"training network {seed + 1} of {count}", flush=True)
        members.append(train(*training, seed=seed, epochs=epochs))
    ensemble = kd.Ensemble(members)
    print("distilling the ensemble", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cache = kd.TeacherCache.build(
            ensemble, training, folder, batch_size=1000, verbose=0
        )
        student = distil(
            cache.attach(training), TEMPERATURE, seed=count, epochs=epochs
        )
    arms = {"single": members, "ensemble": [ensemble], "distilled": [student]}
    return ensemble, {
        name: [
            (frame_accuracy(model, *test[:2]), utterance_error(model, *test))
            for model in models
        ]
        for name, models in arms.items()
    }


def print_table(scores):
    print(f"\n{'':12}{'frame accuracy':>18}{'utterance error':>18}")
    for name, values in scores.items():
        accuracy, error = np.mean(values, axis=0)
        count = f"mean of {len(values)}" if len(values) > 1 else ""
        print(f"{name:12}{accuracy:>18.1%}{error:>18.1%}  {count}")


# The picture. Colours: Okabe and Ito's, which colour-blind readers tell apart.

COLOURS = {"single": "#555555", "ensemble": "#009E73", "distilled": "#0072B2"}


def plot(path, data, targets, test, scores):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 12, "axes.titlesize": 13})
    figure = plt.figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.5, 1], wspace=0.04)
    plot_utterance(left, data, targets, test)
    plot_scores(right, scores)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def telling_utterance(targets, test):
    """The one recognised utterance whose soft targets are the softest."""
    _, y, utterance = test
    decisions, digits = decide(targets, y, utterance)
    numbers, lengths = np.unique(utterance, return_counts=True)
    entropy = -np.sum(targets * np.log(targets + 1e-30), axis=-1)
    mean = np.array([entropy[utterance == i].mean() for i in numbers])
    usual = (decisions == digits) & (lengths > 25) & (lengths < 60)
    return numbers[np.argmax(np.where(usual, mean, -1))]


def plot_utterance(figure, data, targets, test):
    i = telling_utterance(targets, test)
    seconds = (0, len(data.features[i]) * HOP / SAMPLING_RATE)
    sound, digits = figure.subplots(2, 1, sharex=True)
    image = sound.imshow(
        data.features[i].T,
        origin="lower",
        aspect="auto",
        extent=(*seconds, 0.5, BANDS + 0.5),
        cmap="magma",
    )
    figure.colorbar(image, ax=sound, label="decibels")
    sound.set(ylabel="Mel band")
    sound.set_title(f"“{data.digits[i]}”, spoken by {data.speakers[i]}")
    image = digits.imshow(
        targets[test[2] == i].T,
        origin="lower",
        aspect="auto",
        extent=(*seconds, -0.5, 9.5),
        cmap="Blues",
        vmin=0,
        vmax=1,
    )
    figure.colorbar(image, ax=digits, label="probability")
    digits.set(yticks=range(10), ylabel="digit", xlabel="seconds")
    digits.set_title(f"What the ensemble says, temperature {TEMPERATURE:g}")


def plot_scores(figure, scores):
    axes = figure.subplots()
    for place, (name, values) in enumerate(scores.items()):
        accuracies = 100 * np.array(values)[:, 0]
        mean, colour = accuracies.mean(), COLOURS[name]
        spread = place + np.linspace(-0.15, 0.15, len(accuracies))
        if len(accuracies) > 1:
            axes.plot(spread, accuracies, "o", color=colour, alpha=0.5)
            axes.hlines(mean, place - 0.25, place + 0.25, color=colour)
        else:
            axes.plot(place, mean, "D", color=colour)
        axes.text(place + 0.28, mean, f"{mean:.1f}", va="center", color=colour)
    axes.set_xticks(range(len(scores)), scores)
    axes.set(xlim=(-0.4, 2.7), ylabel="frame accuracy in percent")
    axes.set_title("networks, their ensemble,\nand one that learned from it")
    axes.spines[["top", "right"]].set_visible(False)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", help="folder of TFDS data")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path())
    parser.add_argument("--short", action="store_true", help="seconds only")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    start = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    data = made_up() if options.short else load(options.data_dir)
    unseen = np.unique(data.speakers)[:UNSEEN]
    chosen, evaluated = split_by_speaker(data, unseen)
    training = frames(data, chosen, chosen)[:2]
    test = frames(data, evaluated, chosen)
    print(f"{len(training[0])} frames to train on", flush=True)
    count, epochs = (2, 3) if options.short else (MEMBERS, EPOCHS)
    ensemble, scores = compare(training, test, count, epochs)
    print_table(scores)
    targets = soft_targets(ensemble, test[0], TEMPERATURE)
    plot(options.out / "spoken_digits.png", data, targets, test, scores)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
