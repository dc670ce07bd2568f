# %% [markdown]
"""Many devices: the same numbers on four devices as on one.

    KERAS_BACKEND=jax python examples/many_devices.py          # half a minute
    KERAS_BACKEND=jax python examples/many_devices.py --short  # seconds

KERAS_BACKEND may be tensorflow as well; on torch Keras has no such thing. Needs
scikit-learn, which brings the images: `pip install -e ".[jax,examples]"` in a
clone. The devices are simulated on the CPU. On JAX:

                teacher  student  soft loss
    1 device      91.4%    90.5%    0.05783
    4 devices     91.4%    90.5%    0.05783
    weights of the two files differ by 5.2e-06 at most

On TensorFlow 91.7 and 90.4 %, soft loss 0.04821, the weights 1.1e-05 apart.
Simulated devices share the CPU, so four of them are no faster.
"""

# %%
import os
import sys

# Four devices on a CPU, and threads enough, so that none waits for another for
# ever. Nobody who has GPUs or TPUs needs these lines; they come before Keras is
# imported.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["PJRT_NPROC"] = "16"

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_distill as kd

SHORT = "--short" in sys.argv

# %% [markdown]
# ## Data
# Handwritten digits of 8 x 8 pixels. A batch is split among the devices. On JAX
# it must be split evenly, also the last of an epoch: 1,200 images for training
# and 592 for testing make batches of 32 and a last one of 16.

# %%
x, y = load_digits(return_X_y=True)
x = x.astype("float32") / 16
train, test = (x[:1200], y[:1200]), (x[1200:1792], y[1200:1792])

# %% [markdown]
# ## Devices
# What is made and trained in the scope has its variables on each device. On
# JAX `keras.distribution.DataParallel()` takes all devices that there are, and
# `keras.distribution.set_distribution` stands for the scope of a whole program.
# On TensorFlow `tf.distribute.MirroredStrategy()` takes all GPUs.

# %%
if keras.backend.backend() == "jax":

    def scope(count):
        devices = keras.distribution.list_devices()[:count]
        return keras.distribution.DataParallel(devices=devices).scope()

elif keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    four = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(cpu, four)

    def scope(count):
        devices = [f"cpu:{number}" for number in range(count)]
        return tf.distribute.MirroredStrategy(devices).scope()

else:
    raise SystemExit("Keras splits batches on JAX and TensorFlow alone.")

# %% [markdown]
# ## From teacher to student
# As on one device: nothing here knows how many there are. Without shuffling and
# dropout, which would draw other numbers, results are the same but for the
# order in which floats are added up.

# %%
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(units, seed):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(units, "relu")
    return keras.Sequential([keras.Input((64,)), hidden, layers.Dense(10)])


def distilled(folder):
    """A student, and what is to be the same on all devices."""
    fit = {"epochs": 2 if SHORT else 10, "shuffle": False, "verbose": 0}
    teacher = network(300, seed=0)
    teacher.compile("adam", cross_entropy, metrics=["accuracy"])
    teacher.fit(*train, **fit)

    cache = kd.TeacherCache.build(teacher, train, folder, verbose=0)
    distiller = kd.Distiller(
        None,  # The teacher's logits come with the data.
        network(16, seed=1),
        kd.losses.SoftTargets(temperature=4.0),
    )
    distiller.compile(
        keras.optimizers.Adam(0.01), cross_entropy, metrics=["accuracy"]
    )
    logs = distiller.fit(cache.attach(train), **fit).history

    options = {"return_dict": True, "verbose": 0}
    return distiller.student, {
        "teacher": teacher.evaluate(*test, **options)["accuracy"],
        "student": distiller.evaluate(*test, **options)["accuracy"],
        "soft loss": logs["soft_loss"][-1],
    }


# %% [markdown]
# ## One and four
# A student that was trained on four devices is saved as any other, and loaded
# wherever it is used.

# %%
weights = []
print(f"{'':12}teacher  student  soft loss")
for count in (1, 4):
    with scope(count):
        student, found = distilled(f"cache_of_{count}")
        student.save(f"student_of_{count}.keras")
    row = "{teacher:9.1%}{student:9.1%}{soft loss:11.5f}".format(**found)
    print(f"{count} device{'s' if count > 1 else ' '} {row}")
    loaded = keras.models.load_model(f"student_of_{count}.keras")
    weights.append(loaded.get_weights())
apart = max(np.abs(a - b).max() for a, b in zip(*weights, strict=True))
print(f"weights of the two files differ by {apart:.1e} at most")
