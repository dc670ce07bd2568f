# %% [markdown]
"""Language model: the next word, from a teacher's most probable ones.

    KERAS_BACKEND=jax python examples/language_model.py          # 2 minutes
    KERAS_BACKEND=jax python examples/language_model.py --short  # seconds

Needs `pip install -e ".[jax,examples]"` in a clone. On JAX:

    top 20: 87% of the probability, 4.5 MB
    top 100: 98% of the probability, 21.8 MB
                            perplexity
    labels                        30.8
    forward KL, top 20            27.9
    forward KL, top 100           26.1
    forward KL, live              26.0
    reverse KL, top 100           34.1
    reverse KL, live              33.8
    teacher                       14.6

One run of each, with the docstrings of Python 3.11. A cache is as good as the
live teacher if what it keeps has nearly all of the probability: the rest is
spread over all other words, right and wrong ones alike, and with the top 20 two
fifths of the gain are lost. The reverse divergence lets a student leave out
what it cannot learn, which perplexity punishes: by this, it is worse than
labels.
"""

# %%
import ast
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_distill as kd

SHORT = "--short" in sys.argv

# %% [markdown]
# ## Data
# The docstrings of Python's standard library, read from its files. A tenth is
# for testing. The teacher learns from all others, the student from a tenth.


# %%
def docstrings(path):
    tree = ast.parse(path.read_text("utf-8"))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for node in nodes if (text := ast.get_docstring(node))]


files = sorted(Path(os.__file__).parent.glob("*.py"))
texts = sorted({text for path in files for text in docstrings(path)})
np.random.default_rng(0).shuffle(texts)
texts = texts[:250] if SHORT else texts

# %% [markdown]
# ## Words
# All characters and the most frequent words are a vocabulary of 500; any other
# word is spelled. A word has the space before it in it. The text is one long
# line, cut into pieces of one length, and the label of a word is the next one.

# %%
WORDS, LENGTH = 500, 32
split = [re.findall(r" ?\w+|\s|[^\w\s]", text) for text in texts]
counts = Counter(word for words in split for word in words if len(word) > 1)
known = ["END", *sorted({character for text in texts for character in text})]
known += [word for word, _ in counts.most_common(WORDS - len(known))]
number_of = {word: number for number, word in enumerate(known)}


def pieces(split):
    """Inputs and labels, shape `(pieces, LENGTH)`."""
    line = []
    for word in (word for words in split for word in [*words, "END"]):
        line += [number_of[w] for w in ([word] if word in number_of else word)]
    rows = np.array(line[: (len(line) - 1) // LENGTH * LENGTH + 1], "int32")
    return rows[:-1].reshape(-1, LENGTH), rows[1:].reshape(-1, LENGTH)


tenth = len(split) // 10
test, data = pieces(split[:tenth]), pieces(split[tenth : 2 * tenth])
all_data = pieces(split[tenth:])

# %% [markdown]
# ## Models
# Two transformers, in which a word sees those before it. The student is half as
# wide and has one block in the place of two.


# %%
class Positions(layers.Layer):
    """Adds what tells the first word from the second."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="normal")

    def call(self, x):
        return x + self.table


def transformer(blocks, width):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = Positions()(layers.Embedding(WORDS, width)(inputs))
    for _ in range(blocks):
        h = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(num_heads=4, key_dim=width // 4)
        x = x + attention(h, h, use_causal_mask=True)
        h = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(h)
    logits = layers.Dense(WORDS)(layers.LayerNormalization()(x))
    return keras.Model(inputs, logits)


# %% [markdown]
# All learn by Adam, at a rate that falls to 0, and are judged by perplexity:
# among so many words, all as probable, would one have to guess.

# %%
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def adam(rows, epochs):
    updates = epochs * -(-rows // 32)
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(0.005, updates)
    )


def perplexity(model):
    model.compile(loss=cross_entropy)
    return np.exp(model.evaluate(*test, verbose=0))


rows = len(all_data[0])
teacher = transformer(blocks=2, width=64)
teacher.compile(adam(rows, epochs=2), cross_entropy)
teacher.fit(*all_data, batch_size=32, epochs=2, verbose=0)

# %% [markdown]
# ## What the teacher says
# It is asked once about the student's text. Of its 500 logits at each place the
# largest 20, or 100, are kept, and the probability of all others together,
# which a loss spreads over them evenly.

# %%
caches = {
    k: kd.TeacherCache.build(
        teacher, data, tempfile.mkdtemp(), top_k=k, verbose=0
    )
    for k in (20, 100)
}
p = np.sort(keras.ops.softmax(teacher.predict(test[0][:100], verbose=0)))
for k, cache in caches.items():
    size = sum(file.stat().st_size for file in cache.folder.iterdir())
    share = p[..., -k:].sum(axis=-1).mean()
    print(f"top {k}: {share:.0%} of the probability, {size / 1e6:.1f} MB")

# %% [markdown]
# ## Students
# Each sees its text five times. `SoftTargets(1.0)` is the forward divergence
# KL(teacher || student), `ReverseKL()` the other one. The labels are a tenth of
# the loss, as is the default of both.


# %%
def student(loss, cache=None, **weights):
    """Trained from a cache, or else by the teacher itself."""
    model = transformer(blocks=1, width=32)
    source = None if cache else teacher
    distiller = kd.Distiller(source, model, loss, **weights)
    distiller.compile(adam(len(data[0]), epochs=5), cross_entropy)
    options = {"batch_size": 32, "epochs": 5, "verbose": 0}
    if cache:
        distiller.fit(cache.attach(data), **options)
    else:
        distiller.fit(*data, **options)
    return model


forward, reverse = kd.losses.SoftTargets(1.0), kd.losses.ReverseKL()
labels = {"hard_loss_weight": 1.0, "soft_loss_weight": 0.0}
ways = {
    "labels": (forward, None, labels),
    "forward KL, top 20": (forward, caches[20], {}),
    "forward KL, top 100": (forward, caches[100], {}),
    "forward KL, live": (forward, None, {}),
    "reverse KL, top 100": (reverse, caches[100], {}),
    "reverse KL, live": (reverse, None, {}),
}
print(f"{'':24}perplexity")
for name, (loss, cache, weights) in ways.items():
    found = perplexity(student(loss, cache, **weights))
    print(f"{name:24}{found:>10.1f}")
print(f"{'teacher':24}{perplexity(teacher):>10.1f}")

# %% [markdown]
# ## Models of keras-hub
# They are Keras models: they teach and learn as those above, live and from a
# cache. Teacher and student need the same words, and their inputs are a dict.
#
# ```python
# from keras_hub.models import GPT2Backbone, GPT2CausalLM
#
# teacher = GPT2CausalLM.from_preset("gpt2_base_en", preprocessor=None)
# backbone = GPT2Backbone(50257, 4, 4, 256, 1024)
# student = GPT2CausalLM(backbone=backbone, preprocessor=None)
# distiller = kd.Distiller(teacher, student, forward)
# distiller.compile("adam", cross_entropy)
# x = {"token_ids": words[:, :-1], "padding_mask": padding[:, :-1]}
# distiller.fit(x, words[:, 1:], sample_weight=padding[:, 1:])
# ```
#
# This was tried with keras-hub 0.32 on JAX and TensorFlow, with a small teacher
# of random weights in the place of the preset, which is a download.
