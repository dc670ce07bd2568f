# %% [markdown]
"""Specialists: 100 classes that a small generalist confuses, and their experts.

    KERAS_BACKEND=jax python examples/specialists.py          # a minute
    KERAS_BACKEND=jax python examples/specialists.py --short  # seconds

KERAS_BACKEND may be tensorflow or torch as well. Needs scikit-learn, which
brings the images, and matplotlib: `pip install -e ".[jax,examples]"`, in a
clone. New to this? Begin with quickstart.py.

The method of Hinton et al. 2015, section 5, from start to end. Expected on JAX:

                                        test accuracy
    generalist                                  70.1%
    generalist, trained twice as long           72.1%
    generalist and specialists                  74.7%
    student of them, generalist's size          71.2%

Means of 3 runs: 71.1, 72.5, 74.8 and 71.7 %. The specialists gain more than
longer training does. The student keeps little of that: it has no room for it,
and where there are labels enough, these teach more than a teacher who is right
on three of four. `python -m benchmarks.paper.specialists` has MNIST, more
seeds, and the numbers of the paper.
"""

# %%
import sys
import tempfile

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_distill as kd

SHORT = "--short" in sys.argv
TRAIN, TEST, EPOCHS = (3_000, 1_000, 2) if SHORT else (60_000, 20_000, 15)
BATCH = 250
SEED = 0  # of the pairs of images and of the initial weights

# %% [markdown]
# ## Data
# Two of scikit-learn's handwritten digits stand side by side, and the class is
# their number, 00 to 99. Training and test pairs are made of other images.

# %%
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
random = np.random.default_rng(SEED)


def pairs(x, y, count):
    """Random pairs of images side by side, and their two-digit numbers."""
    left, right = random.integers(0, len(x), (2, count))
    return np.concatenate([x[left], x[right]], axis=1), 10 * y[left] + y[right]


train = pairs(images[:1200], labels[:1200], TRAIN)
test = pairs(images[1200:], labels[1200:], TEST)

# %% [markdown]
# ## A generalist
# Its 8 hidden units are much too few for 100 classes. Of so few ReLU units some
# die, which costs more than anything that is compared here; so they are tanh.

# %%
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def adam(examples):
    """Adam whose learning rate falls to 0 when it has seen so many examples."""
    steps = max(1, examples // BATCH)
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(0.01, steps)
    )


def fit(model, *data):
    """Trains a model, or a Distiller, from the weights that it has."""
    model.compile(adam(EPOCHS * TRAIN), cross_entropy)
    model.fit(*data, batch_size=BATCH, epochs=EPOCHS, verbose=0)


def copy_of(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


keras.utils.set_random_seed(SEED)
hidden = keras.layers.Dense(8, "tanh")
generalist = keras.Sequential(
    [keras.Input((128,)), hidden, keras.layers.Dense(100)]
)
fit(generalist, *train)

# %% [markdown]
# For comparison, the generalist is trained on with labels for as long.

# %%
longer = copy_of(generalist)
fit(longer, *train)

# %% [markdown]
# ## Which classes does it confuse?
# Those whose predictions go up and down together. K-means on the covariance of
# the predictions gives ten sets of ten such classes. No labels are needed.

# %%
names = [f"{number:02d}" for number in range(100)]
found = kd.specialists.confusable_classes(
    (generalist, train), 10, 10, class_names=names
)
for members in found.named_sets:
    print(" ".join(members))
kd.plotting.class_covariance(found, "specialists.png")

# %% [markdown]
# ## A specialist for each set
# It starts from the generalist's weights, has one dustbin class for all others,
# and learns from examples of which one half is of its own classes. An epoch is
# about a fifth of the training pairs; there are twice as many epochs.

# %%
folder = tempfile.TemporaryDirectory()
specialists = kd.specialists.train_specialists(
    generalist,
    train,
    found.class_sets,
    f"{folder.name}/specialists",
    epochs=2 * EPOCHS,
    optimizer=adam(2 * EPOCHS * TRAIN // 5),
    batch_size=BATCH,
    verbose=0,
)

# %% [markdown]
# The answers of generalist and specialists are combined by KL divergence.

# %%
ensemble = kd.specialists.SpecialistEnsemble(generalist, specialists)

# %% [markdown]
# ## One student in place of all
# It has the generalist's size and starts from its weights. Its soft targets are
# the combined answers, which are computed once.

# %%
cache = kd.TeacherCache.build(
    ensemble, train, f"{folder.name}/answers", batch_size=1000, verbose=0
)
distiller = kd.Distiller(
    None,  # The teacher's logits come with the data.
    copy_of(generalist),
    kd.losses.SoftTargets(temperature=1.0),
    hard_loss_weight=0.0,
    soft_loss_weight=1.0,
)
fit(distiller, cache.attach(train))

# %% [markdown]
# ## How good are they?


# %%
def print_accuracy(name, model):
    logits = model.predict(test[0], batch_size=1000, verbose=0)
    print(f"{name:36}{np.mean(logits.argmax(axis=1) == test[1]):13.1%}")


print(f"\n{'':36}test accuracy")
print_accuracy("generalist", generalist)
print_accuracy("generalist, trained twice as long", longer)
print_accuracy("generalist and specialists", ensemble)
print_accuracy("student of them, generalist's size", distiller.student)
print("\npicture: specialists.png")
