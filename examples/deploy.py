# %% [markdown]
"""Deploy: from a distilled student to a SavedModel and to LiteRT in int8.

    KERAS_BACKEND=jax python examples/deploy.py          # a minute
    KERAS_BACKEND=jax python examples/deploy.py --short  # seconds

KERAS_BACKEND may be tensorflow or torch as well. LiteRT, formerly TensorFlow
Lite, is made by TensorFlow and run by ai-edge-litert, whatever the backend:
`pip install -e ".[jax,examples,deploy]"` in a clone. On JAX:

    labels only: 83.2%

                             kB      ms  accuracy  as student  logits differ by
    teacher.keras        1083.7   0.104     98.7%       96.0%         11.522987
    student.keras          43.7   0.095     95.3%      100.0%          0.000005
    student_int8.keras     37.9   0.089     95.5%       99.7%          0.538287
    saved_model            89.3   0.390     95.3%      100.0%          0.000005
    student.tflite         18.9   0.004     95.3%      100.0%          0.000009
    student_int8.tflite    10.5   0.003     95.3%      100.0%          1.429253

A small model waits for Python far longer than it computes: the teacher is as
fast in Keras, and LiteRT faster than either. The student's int8 file is a
hundredth of the teacher's. On TensorFlow Keras takes 0.4 ms for an image, on
torch 1.4; files and LiteRT's times are the same, and 95.3 and 95.1 % become
95.5 and 94.6 % in int8. It writes these files.
"""

# %%
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_distill as kd

SHORT = "--short" in sys.argv
SEED = 0  # of the 100 images and of the student's initial weights

# %% [markdown]
# ## Data
# 1,797 handwritten digits of 8 x 8 pixels. The teacher learns from 1,200 of
# them, the student from 100 of these; the other 597 are for testing.

# %%
x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
x_train, x_test, y_train, y_test = train_test_split(
    x, y, test_size=597, stratify=y, random_state=0
)
x_few, _, y_few, _ = train_test_split(
    x_train, y_train, train_size=100, stratify=y_train, random_state=SEED
)

# %% [markdown]
# ## Teacher and student
# The name of the input is kept in all files that are made below.


# %%
def network(channels, units, seed):
    keras.utils.set_random_seed(seed)
    stack = [keras.Input((8, 8, 1), name="image")]
    for width in (channels, 2 * channels):
        stack += [layers.Conv2D(width, 3, padding="same", activation="relu")]
        stack += [layers.MaxPooling2D()]
    stack += [layers.Flatten(), layers.Dense(units, "relu"), layers.Dense(10)]
    return keras.Sequential(stack)


cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
teacher = network(32, 256, seed=0)
teacher.compile("adam", cross_entropy)
teacher.fit(x_train, y_train, epochs=5 if SHORT else 20, verbose=0)

# %% [markdown]
# ## Distil
# The student learns from soft targets, and once more from labels alone, to
# see what the teacher is worth. All 100 images are one batch.

# %%
steps = {"batch_size": 100, "epochs": 100 if SHORT else 300, "verbose": 0}
alone = network(8, 32, SEED)
alone.compile(keras.optimizers.Adam(0.01), cross_entropy)
alone.fit(x_few, y_few, **steps)

distiller = kd.Distiller(
    teacher,
    network(8, 32, SEED),
    kd.losses.SoftTargets(temperature=8.0),
    hard_loss_weight=0.5,
    soft_loss_weight=0.5,
)
distiller.compile(keras.optimizers.Adam(0.01), cross_entropy)
distiller.fit(x_few, y_few, **steps)
student = distiller.student

# %% [markdown]
# ## Export
# The student is a plain Keras model, so it is exported as one. On TensorFlow
# the lines of `EXPORT` could stand here. For JAX and torch another process
# loads the student under TensorFlow: a `.keras` file is the same to all.
#
# In int8, weights take a quarter of the space and products are of integers.
# For that the converter must know how large the values between layers get, so
# it runs a few images, here those that the student has seen. Images and logits
# remain float32.
#
# For ONNX add `student.export("student.onnx", format="onnx")` to these lines,
# which needs `pip install tf2onnx`.

# %%
EXPORT = """
import keras
import numpy as np
import tensorflow as tf

student = keras.models.load_model("student.keras")
images = np.load("images.npy")
student.export("saved_model", verbose=False)
student.export("student.tflite", format="litert", verbose=False)
student.export(
    "student_int8.tflite",
    format="litert",
    verbose=False,
    optimizations=[tf.lite.Optimize.DEFAULT],
    representative_dataset=lambda: ([image[None]] for image in images),
)
"""
student.save("student.keras")
np.save("images.npy", x_few)
environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
subprocess.run([sys.executable, "-c", EXPORT], env=environment, check=True)

# %% [markdown]
# ## Quantise in Keras
# Keras has an int8 of its own, for dense layers, not for convolutions.

# %%
quantized = keras.models.load_model("student.keras")
quantized.quantize("int8", filters="dense")
quantized.save("student_int8.keras")

# %% [markdown]
# ## Run what was written
# For each file a function from one image to its logits, as a device calls it.
# LiteRT's files need neither Keras nor TensorFlow. The teacher is here for
# comparison, without the optimizer that it was trained with.


# %%
def of_keras(path):
    return keras.models.load_model(path).predict_on_batch


def of_saved_model(path):
    import tensorflow as tf

    model = tf.saved_model.load(path)
    return lambda image: model.serve(image).numpy()


def of_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    serve = interpreter.get_signature_runner()
    return lambda image: serve(image=image)["output_0"]


plain_teacher = keras.models.clone_model(teacher)
plain_teacher.set_weights(teacher.get_weights())
plain_teacher.save("teacher.keras")
files = {
    "teacher.keras": of_keras,
    "student.keras": of_keras,
    "student_int8.keras": of_keras,
    "saved_model": of_saved_model,
    "student.tflite": of_litert,
    "student_int8.tflite": of_litert,
}

# %% [markdown]
# ## Before and after
# Milliseconds are the median over the test images, which come one by one.


# %%
def kilobytes(path):
    """The size of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    found = [path, *path.rglob("*")]
    return sum(one.stat().st_size for one in found if one.is_file()) / 1000


def one_by_one(model):
    """Logits of the test images, and the milliseconds that each took."""
    model(x_test[:1])  # The first call compiles.
    logits, seconds = [], []
    for image in x_test[:, None]:
        start = time.perf_counter()
        logits.append(model(image))
        seconds.append(time.perf_counter() - start)
    return np.concatenate(logits), 1000 * np.median(seconds)


expected = student.predict(x_test, verbose=0)
accuracy = np.mean(alone.predict(x_test, verbose=0).argmax(1) == y_test)
print(f"labels only: {accuracy:.1%}\n")
print(f"{'':20}     kB      ms  accuracy  as student  logits differ by")
for path, reader in files.items():
    logits, milliseconds = one_by_one(reader(path))
    answers = logits.argmax(axis=1)
    print(
        f"{path:20}{kilobytes(path):7.1f}{milliseconds:8.3f}"
        f"{np.mean(answers == y_test):10.1%}"
        f"{np.mean(answers == expected.argmax(axis=1)):12.1%}"
        f"{np.abs(logits - expected).max():18.6f}"
    )
