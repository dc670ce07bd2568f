"""Specialists: 100 classes that a small generalist confuses, and their experts.

    python examples/specialists.py          # about a minute on 2 cores
    python examples/specialists.py --short  # seconds

Choose the backend with KERAS_BACKEND=jax, tensorflow or torch. Needs
scikit-learn, which brings the images, and matplotlib:
`pip install -e ".[jax,examples]"`.

The method of Hinton et al. 2015, section 5, from start to end. Two of
scikit-learn's handwritten digits stand side by side, and the class is their
number, 00 to 99. A generalist of 8 hidden units is much too small for that.
Where its predictions go up and down together, classes are confused; K-means on
their covariance gives sets of such classes, and each gets a specialist, which
starts from the generalist's weights and has one dustbin class for all others.
The answers of generalist and specialists are combined by KL divergence. Last, a
student of the generalist's size, which starts from its weights, learns from the
combined answers; for comparison the generalist is trained on with labels for as
long. Training and test pairs are made of different images.

Expected on JAX, from one run:

                                    test accuracy
generalist                                  69.3%
generalist, trained twice as long           71.6%
generalist and specialists                  74.2%
student of them, generalist's size          70.4%

The specialists gain more than longer training does. The student keeps little of
that: it has no room for it, and where there are labels enough, these teach more
than a teacher who is right on three of four. benchmarks/specialists.py has
MNIST, several seeds, and the numbers of the paper.

Writes to --out, the current folder by default: specialists.png, the covariance
of the generalist's predictions, ordered by the sets; models are kept in a
temporary folder.
"""

import argparse
import pathlib
import tempfile

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_distill as kd

CLASSES = 100
NAMES = [f"{number:02d}" for number in range(CLASSES)]
UNITS = 8
TRAIN_IMAGES = 1200
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def pairs(x, y, count, seed):
    """Random pairs of images side by side, and their two-digit numbers."""
    left, right = np.random.default_rng(seed).integers(0, len(x), (2, count))
    numbers = 10 * y[left] + y[right]
    return np.concatenate([x[left], x[right]], axis=1), numbers.astype("int32")


def load(train_pairs, test_pairs, seed=0):
    """Training and test pairs of scikit-learn's digits."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    train, test = slice(0, TRAIN_IMAGES), slice(TRAIN_IMAGES, None)
    return (
        pairs(x[train], y[train], train_pairs, seed),
        pairs(x[test], y[test], test_pairs, seed + 1),
    )


def network(features, units=UNITS):
    """One narrow layer: too small for 100 classes.

    Of so few ReLU units some die, which would cost more than anything that is
    compared here.
    """
    hidden = keras.layers.Dense(units, "tanh")
    return keras.Sequential(
        [keras.Input((features,)), hidden, keras.layers.Dense(CLASSES)]
    )


def adam(rate, steps):
    """Adam whose learning rate falls to 0."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, max(1, int(steps)))
    return keras.optimizers.Adam(schedule)


def accuracy(model, x, y):
    logits = model.predict(x, batch_size=1000, verbose=0)
    return float(np.mean(np.argmax(logits, axis=1) == y))


def fit(model, train, epochs, batch, rate=1e-2):
    """Trains on labels; the model goes on from the weights that it has."""
    steps = epochs * -(-len(train[0]) // batch)
    model.compile(adam(rate, steps), CROSSENTROPY)
    model.fit(*train, batch_size=batch, epochs=epochs, verbose=0)
    return model


def distil(teacher, student, train, epochs, batch, folder, rate=1e-2):
    """Trains on the soft targets of a teacher that runs once."""
    cache = kd.TeacherCache.build(
        teacher, train, folder, batch_size=1000, verbose=0
    )
    distiller = kd.Distiller(
        None,
        student,
        kd.losses.SoftTargets(1.0),
        hard_loss_weight=0.0,
        soft_loss_weight=1.0,
    )
    steps = epochs * -(-len(train[0]) // batch)
    distiller.compile(adam(rate, steps), CROSSENTROPY)
    attached = cache.attach(train)
    distiller.fit(attached, batch_size=batch, epochs=epochs, verbose=0)
    return student


def copy_of(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def run(sizes, folder, seed=0):
    """Everything, in order; returns test accuracies and the classes found."""
    train, test = load(sizes["train"], sizes["test"], seed)
    epochs, batch = sizes["epochs"], 250
    keras.utils.set_random_seed(seed)
    generalist = fit(network(train[0].shape[1]), train, epochs, batch)
    found = kd.specialists.confusable_classes(
        (generalist, train), 10, 10, class_names=NAMES
    )
    share = 10 / CLASSES
    specialists = kd.specialists.train_specialists(
        generalist,
        train,
        found.class_sets,
        folder / "specialists",
        epochs=2 * epochs,
        optimizer=adam(1e-2, 4 * share * epochs * len(train[0]) / batch),
        batch_size=batch,
    )
    ensemble = kd.specialists.SpecialistEnsemble(generalist, specialists)
    student = distil(
        ensemble,
        copy_of(generalist),
        train,
        epochs,
        batch,
        folder / "logits",
    )
    longer = fit(copy_of(generalist), train, epochs, batch)
    models = {
        "generalist": generalist,
        "generalist, trained twice as long": longer,
        "generalist and specialists": ensemble,
        "student of them, generalist's size": student,
    }
    return {name: accuracy(m, *test) for name, m in models.items()}, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a quick check")
    parser.add_argument("--out", default=".", help="folder for the picture")
    options = parser.parse_args()
    sizes = {"train": 60_000, "test": 20_000, "epochs": 15}
    if options.short:
        sizes = {"train": 3_000, "test": 1_000, "epochs": 2}
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        accuracies, found = run(sizes, pathlib.Path(folder))
    for members in found.named_sets:
        print(" ".join(members))
    print(f"\n{'':36}test accuracy")
    for name, value in accuracies.items():
        print(f"{name:36}{value:13.1%}")
    kd.plotting.class_covariance(found, out / "specialists.png")
    print(f"\npicture: {out / 'specialists.png'}")


if __name__ == "__main__":
    main()
