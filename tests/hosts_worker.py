"""One of the processes of a job on JAX, on four simulated devices in all.

    hosts_worker.py FOLDER ADDRESS PROCESS PROCESSES [EPOCH]

It writes what it found to FOLDER, as JSON. At the end of EPOCH, if there is
one, the last process breaks down.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + f" --xla_force_host_platform_device_count={4 // int(sys.argv[4])}"
)

import keras
import numpy as np
from keras import distribution

import keras_distill as kd
from keras_distill._keras import digests
from keras_distill._keras.frozen import FrozenModel

folder, ADDRESS, *numbers = sys.argv[1:]
FOLDER, (PROCESS, PROCESSES, *LAST) = pathlib.Path(folder), map(int, numbers)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 8)).astype("float32")
Y = RANDOM.integers(4, size=16)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SILENT = {"batch_size": 8, "verbose": 0}
CACHE = {"dtype": "float32", "shard_examples": 8, **SILENT}
RUN = {"shuffle": False, **SILENT}


def network(units, seed, name):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(units, "relu", name="hidden")
    layers = [keras.Input((8,)), hidden, keras.layers.Dense(4, name="logits")]
    return keras.Sequential(layers, name=name)


def spread():
    """The teacher over all devices, the student on each of them."""
    mesh = distribution.DeviceMesh((1, 4), ["batch", "model"])
    layouts = distribution.LayoutMap(mesh)
    layouts["teacher/hidden/kernel"] = (None, "model")
    layouts["teacher/logits/kernel"] = ("model", None)
    layouts["in_pieces/kernel"] = (None, "model")
    return distribution.ModelParallel(
        layout_map=layouts,
        batch_dim_name="batch",
        auto_shard_dataset=False,
    )


def distiller(teacher, student=None):
    loss = kd.losses.SoftTargets(2.0)
    student = student or network(4, 2, "student")
    made = kd.Distiller(teacher, student, loss)
    made.compile(keras.optimizers.Adam(0.01), CLASSES)
    return made


class Breakdown(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if [epoch] == LAST and PROCESS == PROCESSES - 1:
            os._exit(1)


def looks_at(made):
    """Whether each look at the values of a first step is part of a program."""
    import jax

    found, look = [], made.look

    def noted(state, batch):
        found.append(isinstance(state[0][0], jax.core.Tracer))
        look(state, batch)

    made.look = noted
    return found


def trained(teacher):
    """Goes on where a job was broken off; each process has its own backup."""
    made = distiller(teacher)
    looks = looks_at(made)
    backup = keras.callbacks.BackupAndRestore(FOLDER / f"backup{PROCESS}")
    callbacks = [backup, Breakdown()]
    logs = made.fit(X, Y, epochs=4, callbacks=callbacks, **RUN).history
    return made, {
        "epochs": len(logs["loss"]),
        "loss": logs["loss"][-1],
        "looks": looks,
        "label": refusal(lambda: distiller(teacher).fit(X, Y + 1, **RUN)),
    }


def files(made, teacher):
    """What comes back from each kind of file, as predictions of the student."""
    name = FOLDER / str(PROCESS)
    made.save(f"{name}.keras")
    made.save_weights(f"{name}.weights.h5")
    loaded = keras.saving.load_model(f"{name}.keras")
    loaded.teacher = teacher
    other = distiller(teacher)
    other.load_weights(f"{name}.weights.h5")
    found = {
        "saved": loaded.predict(X, **SILENT).tolist(),
        "weights": other.predict(X, **SILENT).tolist(),
    }
    best = keras.callbacks.ModelCheckpoint(f"{name}.best.keras")
    other.fit(X, Y, callbacks=[best], **RUN)
    last = keras.saving.load_model(f"{name}.best.keras")
    return found | {"best": last.predict(X, **SILENT).tolist()}


def checkpoints_of_orbax(teacher):
    """A Distiller before and after it was read, and after one more epoch.

    None without Orbax.

    Its student, too, is spread over the processes: Keras cannot save it.
    """
    if importlib.util.find_spec("orbax") is None:
        return None
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(4, "relu", name="in_pieces")(inputs)
    outputs = keras.layers.Dense(4, name="whole")(hidden)
    made = distiller(teacher, keras.Model(inputs, outputs))
    folder = FOLDER / "orbax"
    saved = keras.callbacks.OrbaxCheckpoint(folder, save_on_background=False)
    made.fit(X, Y, epochs=2, callbacks=[saved], **RUN)
    loaded = keras.saving.load_model(folder)
    found = [each.predict(X, **SILENT).tolist() for each in (made, loaded)]
    loaded.teacher = teacher
    for each in (made, loaded):
        each.fit(X, Y, **RUN)
    found += [e.predict(X, **SILENT).tolist() for e in (made, loaded)]
    spec = loaded.student.layers[1].kernel.value.sharding.spec
    return {"predicted": found, "pieces": str(spec)}


def layouts():
    """Sums of one array however it lies on a grid of two by two devices."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((2, 2), ("a", "b"))
    array = np.arange(48, dtype="float32").reshape(4, 3, 4)
    places = [(), ("a",), (None, None, "b"), ("b", None, "a"), (("a", "b"),)]
    found = {"NumPy": digests.sums([array]).tolist()}
    for place in places:
        sharding = NamedSharding(mesh, PartitionSpec(*place))
        laid_out = jax.device_put(array, sharding)
        found[str(place)] = digests.sums([laid_out]).tolist()
    return found


def shared(teacher):
    """Where the logits of a batch lie, and those of one that is not divided.

    The teacher is on each of four devices.
    """
    forward = FrozenModel(teacher).compiled()
    logits = [forward(X[:n]) for n in (16, 13)]
    return {
        "rows": sorted(len(s.data) for s in logits[0].addressable_shards),
        "same": [
            np.allclose(z, teacher(X[: len(z)]), atol=1e-6) for z in logits
        ],
        "count": [len(z) for z in logits],
        "refused": refusals(teacher),
    }


def refusals(teacher):
    """What batches that four devices do not share evenly are met with."""
    made = distiller(teacher)
    odd, even = (X[:13], Y[:13]), (X, Y)
    pairs = {
        "x": lambda: made.fit(*odd, **RUN),
        "split": lambda: made.fit(*even, validation_split=0.1, **RUN),
        "validation": lambda: made.fit(*even, validation_data=odd, **RUN),
        "evaluate": lambda: made.evaluate(*odd, **SILENT),
        "fidelity": lambda: kd.evaluate_fidelity(teacher, made, odd, **SILENT),
    }
    found = {name: refusal(call) for name, call in pairs.items()}
    return found | {"updates": int(made.optimizer.iterations)}


def refusal(call):
    try:
        return str(call())
    except ValueError as error:
        return str(error)


def on_each_device():
    """What is computed with a teacher that is on each of all devices."""
    distribution.set_distribution(
        distribution.DataParallel(auto_shard_dataset=False)
    )
    teacher = network(8, 1, "teacher")
    if PROCESSES == 1:
        return shared(teacher)
    folder, workers = FOLDER / "parts", {"num_workers": PROCESSES}
    kd.TeacherCache.build_part(
        teacher, X, folder, worker=PROCESS, **workers, **CACHE
    )
    own = X[8 * PROCESS :][:8]
    return {
        "logits": np.asarray(FrozenModel(teacher).compiled()(own)).tolist(),
        "joined": built(teacher, folder).logits().tolist(),
    }


def built(teacher, folder, x=X):
    return kd.TeacherCache.build(teacher, x, folder, **CACHE)


def in_step(teacher, cache):
    """Builds of which processes have done unlike parts, or want them.

    All take the batches of the teacher, which is spread over them, together.
    """
    own = shutil.copytree(cache.folder, FOLDER / f"copy{PROCESS}")
    if PROCESS:  # Its process broke down before the other.
        sorted(own.glob("shard-*.npy"))[1].unlink()
    part = {"worker": PROCESS, "num_workers": PROCESSES, **CACHE}
    build_part = kd.TeacherCache.build_part
    new = FOLDER / f"new{PROCESS}"
    return {
        "resumed": built(teacher, own).logits().tolist(),
        "parts": refusal(lambda: build_part(teacher, X, new, **part)),
        "data": refusal(lambda: built(teacher, new, X + PROCESS)),
        "written": new.exists(),
    }


def main():
    if PROCESSES > 1:
        distribution.initialize(ADDRESS, PROCESSES, PROCESS)
    distribution.set_distribution(spread())
    teacher = network(8, 1, "teacher")
    made, found = trained(teacher)
    cache = built(teacher, FOLDER / "cache")
    found |= {
        "layouts": layouts() if PROCESSES == 1 else None,
        "pieces": str(teacher.layers[0].kernel.value.sharding.spec),
        "fingerprint": cache.teacher_fingerprint,
        "logits": cache.logits().tolist(),
        "in step": in_step(teacher, cache) if PROCESSES > 1 else None,
        "fidelity": kd.evaluate_fidelity(teacher, made, X, **SILENT),
        "predicted": made.predict(X, **SILENT).tolist(),
        **files(made, teacher),
        "orbax": checkpoints_of_orbax(teacher),
    }
    found["on each device"] = on_each_device()
    (FOLDER / f"{PROCESS}.json").write_text(json.dumps(found))


main()
