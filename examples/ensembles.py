# %% [markdown]
"""Ensembles: three teachers that learned apart become one small student.

    KERAS_BACKEND=jax python examples/ensembles.py          # 1 to 2 minutes
    KERAS_BACKEND=jax python examples/ensembles.py --short  # seconds

KERAS_BACKEND may be tensorflow or torch as well. Needs scikit-learn, which
brings the images: `pip install -e ".[jax,examples]"` in a clone. On JAX:

    teachers           test accuracy
    one, on average           92.3%
    arithmetic mean           94.0%
    geometric mean            93.6%

    student of         test accuracy  deviation
    labels                     90.0%       1.6%
    one teacher                91.5%       0.7%
    arithmetic mean            93.2%       0.1%
    geometric mean             93.3%       0.1%
    same answer as one of the teachers: 96.0%
    same answer as all: 99.3%
    weights of all teachers 45,030, of a student 2,410

Means of 5 seeds. The student of all is better than its teachers are one by one,
and much the same from seed to seed. Which mean it learns from does not matter.
TensorFlow gives 89.9, 91.1, 93.2 and 93.3 %, torch 89.9, 90.9, 93.4 and 93.5 %.
"""

# %%
import sys

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_distill as kd

SHORT = "--short" in sys.argv
SEEDS = range(3 if SHORT else 5)  # of 100 images and of initial weights

# %% [markdown]
# ## Data
# 1,797 handwritten digits of 8 x 8 pixels. Three owners have 200 of them each
# and keep them to themselves. Students learn from 100 of 600 others; the last
# 597 are for testing.

# %%
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x.astype("float32") / 16, y, test_size=597, stratify=y, random_state=0
)
test = x_test, y_test
owned = [slice(200 * i, 200 * (i + 1)) for i in range(3)]
x_open, y_open = x_train[600:], y_train[600:]

# %% [markdown]
# ## Three teachers
# What leaves an owner is a model.

# %%
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def trained_teacher(x, y, seed):
    keras.utils.set_random_seed(seed)
    stack = [layers.Dropout(0.2), layers.Dense(200, "relu")]
    stack += [layers.Dropout(0.5), layers.Dense(10)]
    teacher = keras.Sequential([keras.Input((64,)), *stack])
    teacher.compile("adam", cross_entropy)
    teacher.fit(x, y, batch_size=50, epochs=90, verbose=0)
    return teacher


teachers = [
    trained_teacher(x_train[part], y_train[part], seed)
    for seed, part in enumerate(owned)
]

# %% [markdown]
# ## Together
# An `Ensemble` is a model too: it takes the teachers' mean prediction. The
# arithmetic mean is that of probabilities: one teacher that is sure is heard.
# The geometric mean is that of logits: one that excludes a digit is heard.

# %%
arithmetic = kd.Ensemble(teachers, combine="arithmetic")
geometric = kd.Ensemble(teachers, combine="geometric")

# %% [markdown]
# ## Students
# They have a twentieth of the weights of all teachers. A student learns either
# from labels, or from what one teacher says of the same 100 images, or all
# three; then it needs no label.


# %%
def new_student(seed, l2):
    keras.utils.set_random_seed(seed)
    l2 = keras.regularizers.L2(l2)
    hidden = layers.Dense(32, "relu", kernel_regularizer=l2)
    logits = layers.Dense(10, kernel_regularizer=l2)
    return keras.Sequential([keras.Input((64,)), hidden, logits])


def few(seed):
    """100 images, ten of each digit, and their labels."""
    x_few, _, y_few, _ = train_test_split(
        x_open, y_open, train_size=100, stratify=y_open, random_state=seed
    )
    return x_few, y_few


STEPS = 200 if SHORT else 300  # All 100 images are a batch. One epoch is fast.


def from_labels(seed):
    x_few, y_few = few(seed)
    student = new_student(seed, l2=0.003)
    student.compile(keras.optimizers.Adam(0.003), cross_entropy)
    x_all, y_all = np.tile(x_few, (STEPS, 1)), np.tile(y_few, STEPS)
    student.fit(x_all, y_all, batch_size=100, shuffle=False, verbose=0)
    return student


def from_teacher(teacher, seed):
    x_few, _ = few(seed)
    loss = kd.losses.SoftTargets(temperature=8.0)
    distiller = kd.Distiller(teacher, new_student(seed, l2=0.001), loss)
    distiller.compile(keras.optimizers.Adam(0.01), loss=None)
    x_all = np.tile(x_few, (STEPS, 1))
    distiller.fit(x_all, batch_size=100, shuffle=False, verbose=0)
    return distiller.student


ways = {
    "labels": from_labels,
    "one teacher": lambda seed: from_teacher(teachers[seed % 3], seed),
    "arithmetic mean": lambda seed: from_teacher(arithmetic, seed),
    "geometric mean": lambda seed: from_teacher(geometric, seed),
}

# %% [markdown]
# ## How good are they?


# %%
def accuracy(model):
    logits = model.predict(x_test, verbose=0)
    return np.mean(logits.argmax(axis=1) == y_test)


alone = np.mean([accuracy(teacher) for teacher in teachers])
print(f"{'teachers':19}test accuracy")
print(f"{'one, on average':16}{alone:15.1%}")
print(f"{'arithmetic mean':16}{accuracy(arithmetic):15.1%}")
print(f"{'geometric mean':16}{accuracy(geometric):15.1%}")
print(f"\n{'student of':19}test accuracy  deviation")
students = {}
for name, way in ways.items():
    students[name] = [way(seed) for seed in SEEDS]
    found = [accuracy(student) for student in students[name]]
    mean, deviation = np.mean(found), np.std(found, ddof=1)
    print(f"{name:16}{mean:16.1%}{deviation:11.1%}")

# %% [markdown]
# ## Whom does the student follow?
# It is one small network, and answers as the three do together.

# %%
for name, teacher in {
    "one of the teachers": teachers[0],
    "all": geometric,
}.items():
    row = kd.evaluate_fidelity(
        teacher, students["geometric mean"][0], test, verbose=0
    )
    print(f"same answer as {name}: {row['agreement_at_1']:.1%}")
sizes = [m.count_params() for m in (geometric, students["labels"][0])]
print("weights of all teachers {:,}, of a student {:,}".format(*sizes))
