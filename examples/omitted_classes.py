# %% [markdown]
"""Omitted classes: a student that has never seen a three recognises it.

    KERAS_BACKEND=jax python examples/omitted_classes.py          # a minute
    KERAS_BACKEND=jax python examples/omitted_classes.py --short  # seconds

KERAS_BACKEND may be tensorflow or torch as well. Needs scikit-learn, which
brings the images: `pip install -e ".[jax,examples]"` in a clone. The experiment
of Hinton et al. 2015, section 3, on smaller images. On JAX:

                              test errors  on digits not seen
    without threes                   4.6%              13.7%
    bias by labels                   3.9%               5.5%
    bias by frequencies              4.0%               6.6%
    teacher                          3.7%               9.8%

                              test errors  on digits not seen
    sevens and eights alone         14.0%              16.8%
    bias by labels                   7.2%               7.4%
    bias by frequencies              5.5%               5.0%
    teacher                          3.7%               3.8%

Means of 3 seeds. A student that has seen two digits tells all ten apart: what
it lacks is mostly their biases. Threes then have fewer errors than the
teacher's, other digits more. TensorFlow gives 4.6 and 10.2 % before, 4.4 and
7.9 % by labels, 4.2 and 6.0 % by frequencies; torch 4.6 and 15.7 %, 3.7 and
8.8 %, 4.4 and 5.6 %.
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
SEEDS = range(1 if SHORT else 3)  # of the students' initial weights

# %% [markdown]
# ## Data
# 1,797 handwritten digits of 8 x 8 pixels. The teacher learns from 800,
# students from some of these. 400 are held out, to find biases, and 597 are for
# testing.

# %%
x, y = load_digits(return_X_y=True)
x_rest, x_test, y_rest, y_test = train_test_split(
    x.astype("float32") / 16, y, test_size=597, stratify=y, random_state=0
)
x_train, x_held, y_train, y_held = train_test_split(
    x_rest, y_rest, test_size=400, stratify=y_rest, random_state=0
)

# %% [markdown]
# ## The teacher
# It has seen every digit, and says of a five how much it is like a three.

# %%
keras.utils.set_random_seed(0)
teacher = keras.Sequential(
    [
        keras.Input((64,)),
        layers.Dropout(0.2),
        layers.Dense(400, "relu"),
        layers.Dropout(0.5),
        layers.Dense(10),
    ]
)
teacher.compile(
    "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
epochs = 40 if SHORT else 60
teacher.fit(x_train, y_train, batch_size=100, epochs=epochs, verbose=0)

# %% [markdown]
# ## Students
# One learns from all but the threes, one from sevens and eights alone. They get
# no labels, but soft targets at a high temperature: all that they ever hear of
# another digit is how much the teacher finds theirs like it.

# %%
STEPS = 400 if SHORT else 800


def student_of(digits, seed):
    keras.utils.set_random_seed(seed)
    stack = [layers.Dense(32, "relu"), layers.Dense(10)]
    student = keras.Sequential([keras.Input((64,)), *stack])
    loss = kd.losses.SoftTargets(temperature=8.0)
    distiller = kd.Distiller(teacher, student, loss)
    distiller.compile(keras.optimizers.Adam(0.01), loss=None)
    images = x_train[np.isin(y_train, digits)]
    repeated = np.resize(images, (100 * STEPS, 64))
    distiller.fit(repeated, batch_size=100, verbose=0)
    return student


# %% [markdown]
# ## Two ways to mend them
# They know what a three looks like, but hold it for unlikely: its bias is too
# low, or that of sevens and eights too high. With labels, one number is fitted
# which is added to the logits of `classes`. Without, all ten biases are found
# from how often each digit occurs: in the held-out images, as often as others.


# %%
def mended(student, classes):
    amount = kd.bias.fit_bias(student, (x_held, y_held), classes=classes)
    by_labels = kd.bias.shift_bias(student, classes, amount)
    amounts = kd.bias.match_class_frequencies(student, x_held, np.full(10, 0.1))
    by_frequencies = kd.bias.shift_bias(student, None, amounts)
    return {"bias by labels": by_labels, "bias by frequencies": by_frequencies}


# %% [markdown]
# ## Errors
# Of all test images, and of those whose digit the student has never seen.


# %%
def print_errors(name, models, unseen):
    """The mean over models of other seeds."""
    found = [
        model.predict(x_test, verbose=0).argmax(axis=1) != y_test
        for model in models
    ]
    overall = np.mean([errors.mean() for errors in found])
    missing = np.mean([errors[unseen].mean() for errors in found])
    print(f"{name:24}{overall:>13.1%}{missing:>19.1%}")


all_but_threes = [digit for digit in range(10) if digit != 3]
cases = {  # The digits that are seen, and the classes that get one shift.
    "without threes": (all_but_threes, [3]),
    "sevens and eights alone": ([7, 8], [[7, 8]]),
}
for case, (digits, classes) in cases.items():
    unseen = ~np.isin(y_test, digits)
    students = [student_of(digits, seed) for seed in SEEDS]
    rows = [mended(student, classes) for student in students]
    print(f"{'':24}  test errors  on digits not seen")
    print_errors(case, students, unseen)
    for name in rows[0]:
        print_errors(name, [row[name] for row in rows], unseen)
    print_errors("teacher", [teacher], unseen)
    print()
