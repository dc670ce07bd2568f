# %% [markdown]
"""Images: a MobileNet teaches a small network, on random views from `tf.data`.

    KERAS_BACKEND=jax python examples/images.py          # 2 to 3 minutes
    KERAS_BACKEND=jax python examples/images.py --short  # a minute

Needs TensorFlow for `tf.data`, also beside another backend, and scikit-learn,
which brings the images: `pip install -e ".[jax,tensorflow,examples]"` in a
clone. On JAX:

                                        test accuracy  as the teacher  CPU s
    labels of random views, no teacher          96.3%           95.0%    2.6
    live teacher, random views                  97.5%           96.6%   12.7
    cache of plain images                       95.9%           94.1%    1.4
    the same cache, random views                97.0%           96.0%    3.5
    cache of ten views                          96.2%           95.9%    3.0
    teacher                                     98.0%
                file, kB  CPU s  same answer  KL, nats
    float32         1216   0.26       100.0%   0.00000
    bfloat16         778   0.27       100.0%   0.00043
    int8            1216   0.26       100.0%   0.00000
    student.keras: 2,117 weights, those of the teacher 221,114

Means of 3 seeds on 301 images, of which one is 0.3 points: where there are 100
images with labels and random views, a teacher adds a point or so, and which
way of asking it is best is chance. A live one makes the steps take four times
as long. On TensorFlow the teacher has 94.0 %, labels give 95.2 %, live views
97.0 %, the caches 95.0, 96.6 and 97.3 %.
"""

# %%
import sys
import tempfile
import time
import timeit
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_distill as kd

SHORT = "--short" in sys.argv
SEEDS = range(1 if SHORT else 3)  # of the students' initial weights
FOLDER = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Data
# 1,797 handwritten digits stand for your photographs. They are made as large as
# the smallest image that a MobileNet takes, in three colours from 0 to 255.

# %%
x, y = load_digits(return_X_y=True)
x = tf.image.resize(x.reshape(-1, 8, 8, 1) * 255 / 16, (32, 32))
x = np.repeat(np.clip(x, 0, 255), 3, axis=-1)
x_train, x_test, y_train, y_test = train_test_split(
    x, y, test_size=597, stratify=y, random_state=0
)

# %% [markdown]
# ## Random views
# Each is shifted, and has another contrast and brightness. A view is known by
# its number: the endless stream below shows none twice, and gives the same each
# time that it is read. `tf.data` does this beside every backend: TensorFlow
# makes the images, and JAX or torch trains on them.


# %%
def view(number, example):
    image, label = example
    seed = tf.stack([number, 0])
    image = tf.image.resize_with_crop_or_pad(image, 38, 38)
    image = tf.image.stateless_random_crop(image, (32, 32, 3), seed)
    image = tf.image.stateless_random_contrast(image, 0.6, 1.4, seed)
    image = tf.image.stateless_random_brightness(image, 32.0, seed)
    return tf.clip_by_value(image, 0, 255), label


def views(x, y):
    examples = tf.data.Dataset.from_tensor_slices((x, y))
    return examples.repeat().enumerate().map(view)


def batches(dataset, size):
    return dataset.shuffle(1200, seed=0).batch(size).prefetch(2)


# %% [markdown]
# ## The teacher
# It scales its inputs itself, as MobileNet wants them, and ends in a softmax.
# With `weights="imagenet"` and 1,000 classes, on larger images, it is ready for
# use. Here it learns the ten digits from nothing.


# %%
def new_teacher():
    inputs = keras.Input((32, 32, 3))
    network = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=10
    )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Its averages are to keep up with 900 steps.
    scaled = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    return keras.Model(inputs, network(scaled))


keras.utils.set_random_seed(0)
teacher = new_teacher()
steps = 10 if SHORT else 925
rate = keras.optimizers.schedules.CosineDecay(0.004, steps)
teacher.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
teacher.fit(
    batches(views(x_train, y_train), 32),
    steps_per_epoch=steps,
    shuffle=False,
    verbose=0,
)

# %% [markdown]
# ## Its logits, and its classes
# `as_logits` cuts the softmax off. The student is to tell odd digits apart, and
# numbers them in its own way: `select_classes` gives the teacher's logits of
# these, in this order. Both models share the teacher's weights.

# %%
WANTED = [9, 7, 5, 3, 1]
logits_of_ten = kd.as_logits(teacher)
odd_teacher = kd.select_classes(logits_of_ten, WANTED)


def odd(x, y):
    rows = np.isin(y, WANTED)
    return x[rows], np.array([WANTED.index(digit) for digit in y[rows]])


test = odd(x_test, y_test)
x_odd, y_odd = odd(x_train, y_train)
x_few, _, y_few, _ = train_test_split(
    x_odd, y_odd, train_size=100, stratify=y_odd, random_state=0
)

# %% [markdown]
# ## What the student sees, and of what the teacher speaks
# - Live: a view is made, and teacher and student look at it.
# - The plain images, cached: the teacher has spoken once of each.
# - The same, but the student sees random views. `_replace` changes the image
#   and keeps the logits, though the teacher has never seen the view.
# - Ten views of each image, cached: the first 1,000 of the stream, which are a
#   dataset like any other.

# %%
plain = tf.data.Dataset.from_tensor_slices((x_few, y_few))
random = views(x_few, y_few)
ten_views = random.take(10 * len(x_few))


def cached(dataset, name):
    cache = kd.TeacherCache.build(
        odd_teacher, dataset, FOLDER / name, verbose=0
    )
    return cache.attach(dataset).repeat()


def image_alone(number, example):
    pair, label = example
    image, _ = view(number, (pair.inputs, label))
    return pair._replace(inputs=image), label


of_plain = cached(plain, "plain")
ways = {
    "labels of random views, no teacher": (odd_teacher, random, 0.0),
    "live teacher, random views": (odd_teacher, random, 0.5),
    "cache of plain images": (None, of_plain, 0.5),
    "the same cache, random views": (
        None,
        of_plain.enumerate().map(image_alone),
        0.5,
    ),
    "cache of ten views": (None, cached(ten_views, "views"), 0.5),
}

# %% [markdown]
# ## The student
# Two small convolutions, and a scale of its own. It is trained for 400 steps of
# 50 images, whatever it learns from.


# %%
def new_student(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(len(WANTED)),
        ]
    )


def trained(live_teacher, dataset, soft_loss_weight, seed):
    """A student, and the seconds of all cores that its steps took."""
    distiller = kd.Distiller(
        live_teacher,
        new_student(seed),
        kd.losses.SoftTargets(temperature=4.0),
        hard_loss_weight=1 - soft_loss_weight,
        soft_loss_weight=soft_loss_weight,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.Adam(0.005), loss)
    data = {"x": batches(dataset, 50), "shuffle": False, "verbose": 0}
    distiller.fit(steps_per_epoch=1, **data)  # Compiles.
    start = time.process_time()
    distiller.fit(steps_per_epoch=10 if SHORT else 399, **data)
    return distiller.student, time.process_time() - start


print(f"{'':36}test accuracy  as the teacher  CPU s")
for name, way in ways.items():
    rows, seconds = [], []
    for seed in SEEDS:
        student, taken = trained(*way, seed)
        seconds.append(taken)
        rows.append(kd.evaluate_fidelity(odd_teacher, student, test, verbose=0))
    accuracy = np.mean([row["student_accuracy"] for row in rows])
    same = np.mean([row["agreement_at_1"] for row in rows])
    print(f"{name:36}{accuracy:>13.1%}{same:>16.1%}{np.mean(seconds):>7.1f}")
print(f"{'teacher':36}{rows[0]['teacher_accuracy']:>13.1%}")

# %% [markdown]
# ## The teacher in fewer bits
# A teacher that is asked often may be made cheaper first. `bfloat16` halves its
# weights; whether it is faster is the processor's to say. `int8` is for dense
# layers and embeddings: MobileNet has none, so it stays as it is. text.py has a
# teacher that it suits.


# %%
def in_precision(name):
    policy = "bfloat16" if name == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    copy = new_teacher()
    keras.config.set_dtype_policy("float32")
    copy.set_weights(teacher.get_weights())
    copy = kd.as_logits(copy)
    if name == "int8":
        copy.quantize("int8")
    return copy


def seconds_of(model, x):
    """Of all cores, for a pass; that which compiles is not the least."""
    return min(
        timeit.repeat(
            lambda: model.predict(x, verbose=0),
            timer=time.process_time,
            repeat=5,
            number=1,
        )
    )


# Keras names each layer that it leaves as it is.
warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method")
print(f"{'':12}file, kB  CPU s  same answer  KL, nats")
for name in ("float32", "bfloat16", "int8"):
    copy = in_precision(name)
    copy.save(FOLDER / "copy.keras")
    size = (FOLDER / "copy.keras").stat().st_size / 1000
    seconds = seconds_of(copy, x_test)
    row = kd.evaluate_fidelity(logits_of_ten, copy, x_test, verbose=0)
    same, kl = row["agreement_at_1"], row["kl_divergence"]
    print(f"{name:12}{size:>8.0f}{seconds:>7.2f}{same:>13.1%}{kl:>10.5f}")

# %% [markdown]
# ## What is left
# A plain model, which scales its images itself.

# %%
student.save("student.keras")
student = keras.models.load_model("student.keras")
print(f"student.keras: {student.count_params():,} weights, ", end="")
print(f"those of the teacher {teacher.count_params():,}")
