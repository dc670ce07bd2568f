"""A teacher, or both models, over four simulated devices.

    model_parallel_worker.py FOLDER teacher|both

With both, losses are computed for some rows at a time.

Prints what it found, as JSON; what XLA made of each function is in FOLDER.
"""

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = (
    "false"  # What is in it is not said.
)
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count="
    + os.environ["SIMULATED_DEVICES"]
    + f" --xla_dump_to={sys.argv[1]}/hlo --xla_dump_hlo_as_text"
    + " --xla_dump_hlo_module_re=.*train_step.*"
)

import keras
import numpy as np
from keras import distribution, layers

import keras_distill as kd
from keras_distill._keras import memory, pieces

FOLDER, SPREAD = sys.argv[1:]
CLASSES, FEATURES = 12, 16
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(48, FEATURES)).astype("float32")
Y = np.arange(48) % CLASSES
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}


def network(name, units, seed):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(units, "relu", name="hidden")
    head = layers.Dense(CLASSES, name="logits")
    return keras.Sequential([keras.Input((FEATURES,)), hidden, head], name=name)


def spread(*names):
    mesh = distribution.DeviceMesh((2, 2), ["batch", "model"])
    layouts = distribution.LayoutMap(mesh)
    for name in names:
        layouts[f"{name}/hidden/kernel"] = (None, "model")
        layouts[f"{name}/hidden/bias"] = ("model",)
        layouts[f"{name}/logits/kernel"] = ("model", None)
    return distribution.ModelParallel(
        layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
    )


def distilled():
    teacher, student = network("teacher", 256, 1), network("student", 8, 2)
    model = kd.Distiller(teacher, student, kd.losses.SoftTargets(2.0))
    model.compile(keras.optimizers.Adam(0.01), CROSSENTROPY)
    return model.fit(X, Y, epochs=3, **FIT).history, teacher


def piece(variable):
    """What of a variable is on a device."""
    return variable.value.addressable_shards[0].data


def heads_over_all():
    """What no specialist of 3 units can be."""
    mesh = distribution.DeviceMesh((1, 4), ["batch", "model"])
    layouts = distribution.LayoutMap(mesh)
    layouts[".*hidden.*kernel"] = (None, "model")
    layouts[".*logits.*kernel"] = (None, "model")
    layouts[".*logits.*bias"] = ("model",)
    return distribution.ModelParallel(
        layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
    )


def specialists(folder):
    """One as it is built, and one that was trained and then loaded again."""
    generalist = network("generalist", 16, 3)
    built = kd.specialists.build_specialist(generalist, [2, 7], inputs=X)

    def trained(epochs):
        return kd.specialists.train_specialists(
            generalist, (X, Y), [[2, 7]], folder, epochs=epochs, verbose=False
        )[0].model

    models = [built, trained(1), trained(1)]
    return {
        "pieces": [piece(v).shape for v in built.variables],
        "predicted": [m.predict(X, verbose=0).tolist() for m in models],
    }


def main():
    one = distilled()[0]
    alone = specialists(f"{FOLDER}/alone")
    names = ["teacher"] if SPREAD == "teacher" else ["teacher", "student"]
    if SPREAD == "both":
        memory._LARGE = pieces._SMALLEST_ON_CPU = 2**4
    with spread(*names).scope():
        many, teacher = distilled()
        held = sum(piece(v).nbytes for v in teacher.variables)
        whole = sum(v.value.nbytes for v in teacher.variables)
    with heads_over_all().scope():
        divided = specialists(f"{FOLDER}/divided")
    found = {"one": one, "many": many, "bytes": [held, whole]}
    print(json.dumps(found | {"alone": alone, "divided": divided}))


main()
