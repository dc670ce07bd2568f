# %% [markdown]
"""Text: which package is it about? Few labels, and a teacher for the rest.

    KERAS_BACKEND=jax python examples/text.py          # half a minute
    KERAS_BACKEND=jax python examples/text.py --short  # seconds

Needs TensorFlow for strings, also beside another backend, and the packages
whose docstrings it reads: `pip install -e ".[jax,tensorflow,examples]"` in a
clone. On JAX:

                                        test accuracy
    250 labels                                  49.8%
    250 labels and the teacher                  52.0%
    and 4,250 sentences without labels          69.1%
    the same 4,500 without any label            69.3%
    4,500 labels, for comparison                70.7%
    teacher                                     75.3%
                file, kB  CPU s  same answer  KL, nats
    float32         1217   0.07       100.0%   0.00000
    bfloat16         638   0.09        99.9%   0.00001
    int8             372   0.09        99.8%   0.00006
    Draw a line between two points of the axes: matplotlib
    student.keras: 8,045 weights, those of the teacher 289,797

Means of 3 seeds. It is the sentences without labels that help: with them the
student comes close to one that has all labels. The sentences are those of keras
3.15.1, matplotlib 3.11.2, numpy 2.4.6, scipy 1.17.1 and scikit-learn 1.9.1.
"""

# %%
import importlib.util
import re
import sys
import tempfile
import time
import timeit
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_distill as kd

SHORT = "--short" in sys.argv
SEEDS = range(1 if SHORT else 3)  # of the labels and of the initial weights

# %% [markdown]
# ## Data
# First sentences of docstrings, of packages that are installed with this
# example. Which one is it? 11,565 sentences; one that two packages have is left
# out. Half of those that are not for testing are the teacher's. The student has
# the other half, and labels of 250 of them.

# %%
PACKAGES = ["keras", "matplotlib", "numpy", "scipy", "sklearn"]
OPENING = re.compile(r':\n +r?"""(.+?)(?:"""|\n\s*\n)', re.DOTALL)


def sentences(package):
    """Openings of its docstrings, read from its files: nothing is imported."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    for path in sorted(folder.rglob("*.py")):
        for opening in OPENING.findall(path.read_text("utf-8")):
            words = opening.split()
            if "tests" not in path.parts and len(words) >= 5:
                yield " ".join(words)


found = {}
for number, package in enumerate(PACKAGES):
    for sentence in sentences(package):
        found.setdefault(sentence, set()).add(number)
found = {text: min(of) for text, of in found.items() if len(of) == 1}
order = np.random.default_rng(0).permutation(len(found))
texts, labels = np.array(list(found))[order], np.array([*found.values()])[order]
test, ours = slice(0, 2500), slice(2500, 7000)  # The rest is the teacher's.

# %% [markdown]
# ## Words
# `TextVectorization` turns strings to numbers of words. Strings are only
# for TensorFlow, so on JAX and torch it does this itself, before the model:
#
# | | JAX, torch | TensorFlow |
# | --- | --- | --- |
# | `vectorize(texts)` ahead, as here: arrays of numbers | yes | yes |
# | `dataset.map(vectorize)` in a `tf.data` pipeline | yes | yes |
# | as the first layer of a model that is called on strings | no | yes |
# | a Distiller of two such models, which may share the layer | no | yes |
# | `TeacherCache` of strings, teacher such a model | no | yes |
# | `TeacherCache` of strings, teacher a function, as below | yes | yes |
# | the layer saved and loaded, in a model of its own | yes | yes |
#
# Where a model takes strings, `fit` and `predict` want them as `tf.constant` or
# with dtype object; NumPy's own strings are refused.
#
# Each model has words of its own: the teacher 4,000, the student 1,000.


# %%
def vectorization(most_words):
    layer = layers.TextVectorization(most_words, output_sequence_length=32)
    layer.adapt(texts[2500:])
    return layer


teacher_words, student_words = vectorization(4000), vectorization(1000)

# %% [markdown]
# ## The teacher
# A small transformer: embeddings, one block of attention, and the mean of what
# comes out. Padding is masked.


# %%
def new_teacher():
    inputs = keras.Input((32,), dtype="int32")
    words = layers.Embedding(4000, 64, mask_zero=True)(inputs)
    x = layers.Dropout(0.4)(words)
    attended = layers.MultiHeadAttention(num_heads=4, key_dim=16)(x, x)
    x = layers.LayerNormalization()(x + attended)
    mixed = layers.Dense(64)(layers.Dense(128, "relu")(x))
    x = layers.LayerNormalization()(x + mixed)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


cross_entropy = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, ignore_class=-1
)
keras.utils.set_random_seed(0)
teacher = new_teacher()
teacher.compile(keras.optimizers.Adam(0.001), cross_entropy)
teacher.fit(
    teacher_words(texts[7000:]),
    labels[7000:],
    batch_size=50,
    epochs=2 if SHORT else 6,
    verbose=0,
)

# %% [markdown]
# ## What it says of the student's sentences
# It is asked once. The cache is of strings, so that each student may have words
# of its own; the teacher is then a function, with a name to know it by.


# %%
def of_strings(texts):
    return teacher.predict_on_batch(teacher_words(texts))


data = texts[ours], labels[ours]
cache = kd.TeacherCache.build(
    of_strings, data, tempfile.mkdtemp(), fingerprint="teacher@1", verbose=0
)
pair, y = cache.attach(data)
x = keras.ops.convert_to_numpy(student_words(pair.inputs))

# %% [markdown]
# ## Students
# A bag of words: the mean of 8 numbers per word. All get 1,350 updates. A label
# of -1 is none: the cross-entropy ignores it, and only the teacher speaks.


# %%
def new_student(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((32,), dtype="int32"),
            layers.Embedding(1000, 8, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(5),
        ]
    )


def trained(sentences, labelled, soft_loss_weight, seed):
    """A student of so many sentences, so many of which have labels."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(x))[:sentences]
    given = np.where(np.arange(sentences) < labelled, y[chosen], -1)
    # All passes are one epoch, which is the fastest.
    passes = (450 if SHORT else 1350) * 50 // sentences
    order = [random.permutation(sentences) for _ in range(passes)]
    order = np.concatenate(order)
    rows = chosen[order]
    distiller = kd.Distiller(
        None,
        new_student(seed),
        kd.losses.SoftTargets(temperature=2.0),
        hard_loss_weight=1 - soft_loss_weight,
        soft_loss_weight=soft_loss_weight,
    )
    distiller.compile(keras.optimizers.Adam(0.005), cross_entropy)
    distiller.fit(
        kd.WithTeacherLogits(x[rows], pair.teacher_logits[rows]),
        given[order],
        batch_size=50,
        shuffle=False,
        verbose=0,
    )
    return distiller.student


# %% [markdown]
# ## How good are they?

# %%
ways = {
    "250 labels": (250, 250, 0.0),
    "250 labels and the teacher": (250, 250, 0.9),
    "and 4,250 sentences without labels": (4500, 250, 0.9),
    "the same 4,500 without any label": (4500, 0, 1.0),
    "4,500 labels, for comparison": (4500, 4500, 0.0),
}
x_test = keras.ops.convert_to_numpy(student_words(texts[test]))
x_teacher = keras.ops.convert_to_numpy(teacher_words(texts[test]))


def accuracy(model, x):
    answers = model.predict(x, verbose=0).argmax(axis=-1)
    return (answers == labels[test]).mean()


students = {}
print(f"{'':36}test accuracy")
for name, way in ways.items():
    students[name] = [trained(*way, seed) for seed in SEEDS]
    mean = np.mean([accuracy(student, x_test) for student in students[name]])
    print(f"{name:36}{mean:>13.1%}")
print(f"{'teacher':36}{accuracy(teacher, x_teacher):>13.1%}")

# %% [markdown]
# ## The teacher in fewer bits
# Before it is asked about millions of sentences, it may become smaller. `int8`
# is for dense layers and embeddings, of which this teacher is made.


# %%
def in_precision(name):
    policy = "bfloat16" if name == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    copy = new_teacher()
    keras.config.set_dtype_policy("float32")
    copy.set_weights(teacher.get_weights())
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
folder = Path(tempfile.mkdtemp())
print(f"{'':12}file, kB  CPU s  same answer  KL, nats")
for name in ("float32", "bfloat16", "int8"):
    copy = in_precision(name)
    copy.save(folder / "copy.keras")
    size = (folder / "copy.keras").stat().st_size / 1000
    seconds = seconds_of(copy, x_teacher)
    row = kd.evaluate_fidelity(teacher, copy, x_teacher, verbose=0)
    same, kl = row["agreement_at_1"], row["kl_divergence"]
    print(f"{name:12}{size:>8.0f}{seconds:>7.2f}{same:>13.1%}{kl:>10.5f}")

# %% [markdown]
# ## From a string to a package
# The student and its words are two files, on each backend. On TensorFlow they
# may be one model: `keras.Sequential([keras.Input((), dtype="string"), words,
# student])`, also of a student that was trained on JAX.

# %%
students["and 4,250 sentences without labels"][0].save("student.keras")
keras.Sequential([keras.Input((), dtype="string"), student_words]).save(
    "words.keras"
)
student = keras.models.load_model("student.keras")
words = keras.models.load_model("words.keras").layers[-1]
question = ["Draw a line between two points of the axes"]
answer = student.predict_on_batch(words(question)).argmax()
print(f"{question[0]}: {PACKAGES[answer]}")
print(f"student.keras: {student.count_params():,} weights, ", end="")
print(f"those of the teacher {teacher.count_params():,}")
