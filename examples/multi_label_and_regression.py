# %% [markdown]
"""Two heads: labels that do not exclude each other, and a value.

    KERAS_BACKEND=jax python examples/multi_label_and_regression.py
    KERAS_BACKEND=jax python examples/multi_label_and_regression.py --short

The first takes a minute, the second seconds. KERAS_BACKEND may be tensorflow or
torch as well. Needs scikit-learn, which brings the images: `pip install -e
".[jax,examples]"` in a clone. On JAX:

                        all digits  error of total  labels as teacher      KL
    500 pairs, labels        48.0%            2.48              93.2%  0.2181
    500 pairs, both          51.6%            2.37              94.0%  0.1738
    all pairs, teacher       63.3%            2.06              96.4%  0.0763
    teacher                  81.2%            1.21             100.0%  0.0000

Means of 3 seeds. The teacher's word on the same pairs helps a little; that it
has one on pairs without labels helps much more. TensorFlow gives 46.8, 48.9 and
64.1 % with errors of 2.41, 2.37 and 1.99; torch, which takes two minutes, 48.9,
52.0 and 65.1 % with 2.36, 2.35 and 1.94.
"""

# %%
import sys

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_distill as kd

SHORT = "--short" in sys.argv
SEEDS = range(1 if SHORT else 3)  # of the few pairs and of initial weights
STEPS = 500 if SHORT else 1500  # of each student, of 100 pairs

# %% [markdown]
# ## Data
# Two of scikit-learn's handwritten digits stand side by side. Labels say which
# of the ten digits are there: one or two of them. The value is their total,
# from 0 to 18, which a network learns as a tenth of it. Training and test pairs
# are made of other images.

# %%
images, digits = load_digits(return_X_y=True)
images = (images / 16).astype("float32")


def pairs(part, count, seed):
    """Random pairs of images side by side, and what each head is to say."""
    chosen = np.random.default_rng(seed).integers(
        0, len(digits[part]), (2, count)
    )
    x = np.concatenate(list(images[part][chosen]), axis=1)
    left, right = np.eye(10, dtype="float32")[digits[part][chosen]]
    total = digits[part][chosen].sum(axis=0).astype("float32")
    return x, {"digits": np.maximum(left, right), "total": total[:, None] / 10}


x_train, y_train = pairs(slice(1200), 10_000 if SHORT else 30_000, seed=0)
x_test, y_test = pairs(slice(1200, None), 5_000, seed=1)

# %% [markdown]
# ## A model with two heads
# Their names are those of labels and losses. One ends in a logit for each
# digit, before a sigmoid; the other in the value itself.


# %%
def network(units, dropout, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((128,))
    hidden = inputs
    for _ in range(2):
        hidden = layers.Dense(units, "relu")(hidden)
        hidden = layers.Dropout(dropout)(hidden)
    heads = {
        "digits": layers.Dense(10, name="digits")(hidden),
        "total": layers.Dense(1, name="total")(hidden),
    }
    return keras.Model(inputs, heads)


hard_losses = {
    "digits": keras.losses.BinaryCrossentropy(from_logits=True),
    "total": keras.losses.MeanSquaredError(),
}
teacher = network(300, 0.3, seed=0)
teacher.compile("adam", hard_losses)
teacher.fit(x_train, y_train, batch_size=100, epochs=10, verbose=0)

# %% [markdown]
# ## Students
# They have 500 pairs with labels and values. One learns from these alone.

# %%
SMALL, FEW = 32, 500


def repeated(*arrays):
    """As many examples as all steps take: one epoch of them is the fastest."""
    return [np.resize(a, (100 * STEPS, *a.shape[1:])) for a in arrays]


def few(seed):
    x, y = pairs(slice(1200), FEW, seed=10 + seed)
    x, digits, total = repeated(x, y["digits"], y["total"])
    return x, {"digits": digits, "total": total}


def from_labels(seed):
    student = network(SMALL, 0.0, seed)
    student.compile(keras.optimizers.Adam(0.003), hard_losses)
    student.fit(*few(seed), batch_size=100, verbose=0)
    return student


# %% [markdown]
# One learns from the teacher as well: a dict has a distillation loss for each
# output by name. `SigmoidTargets` compares labels one by one. For values any
# loss of Keras will do, which compares the outputs as they are.

# %%
soft_losses = {
    "digits": kd.losses.SigmoidTargets(temperature=2.0),
    "total": keras.losses.MeanSquaredError(),
}


def from_both(seed):
    distiller = kd.Distiller(
        teacher,
        network(SMALL, 0.0, seed),
        soft_losses,
        hard_loss_weight=0.5,
        soft_loss_weight=0.5,
    )
    distiller.compile(keras.optimizers.Adam(0.003), hard_losses)
    distiller.fit(*few(seed), batch_size=100, verbose=0)
    return distiller.student


# %% [markdown]
# And one learns from the teacher alone, which needs no labels: it gets all
# pairs that there are.


# %%
def from_teacher(seed):
    distiller = kd.Distiller(
        teacher,
        network(SMALL, 0.0, seed),
        soft_losses,
        hard_loss_weight=0.0,
        soft_loss_weight=1.0,
    )
    distiller.compile(keras.optimizers.Adam(0.003), loss=None)
    distiller.fit(*repeated(x_train), batch_size=100, verbose=0)
    return distiller.student


# %% [markdown]
# ## How good are they, and how much like the teacher?
# All ten labels of a pair are to be right. `evaluate_fidelity` compares one
# head, a model that shares the student's layers, and counts each label.


# %%
def head(model):
    return keras.Model(model.input, model.output["digits"])


def measured(student):
    found = student.predict(x_test, verbose=0)
    right = (found["digits"] > 0) == (y_test["digits"] > 0)
    error = 10 * np.abs(found["total"] - y_test["total"])
    fidelity = kd.evaluate_fidelity(
        head(teacher),
        head(student),
        (x_test, y_test["digits"]),
        kind="labels",
        verbose=0,
    )
    agreement, kl = fidelity["agreement_at_1"], fidelity["kl_divergence"]
    return right.all(axis=1).mean(), error.mean(), agreement, kl


ways = {
    "500 pairs, labels": from_labels,
    "500 pairs, both": from_both,
    "all pairs, teacher": from_teacher,
    "teacher": lambda seed: teacher,
}
print(f"{'':18}  all digits  error of total  labels as teacher      KL")
for name, way in ways.items():
    rows = [measured(way(seed)) for seed in SEEDS]
    right, error, agreement, kl = np.mean(rows, axis=0)
    print(f"{name:18}{right:12.1%}{error:16.2f}{agreement:19.1%}{kl:8.4f}")
