"""Prints, as JSON, what 24 steps on one and on many devices log and learn.

    SIMULATED_DEVICES=4 devices_worker.py FOLDER

Caches go to FOLDER.
"""

import json
import sys

import distribution_worker as worker
import every_loss
import keras
import numpy as np
from distribution_worker import X, Y
from keras import layers

import keras_distill as kd

BACKEND = keras.backend.backend()
FOLDER = sys.argv[1]
CLASSES, BATCH = 3, 8
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SILENT = {"epochs": 8, "verbose": 0}
FIT = {"batch_size": BATCH, "shuffle": False, **SILENT}
# Two batches of 8, and one of 4, of which each device has one.
X, Y = X[:20], Y[:20]
WEIGHTS = np.arange(20, dtype="float32") / 10


def network(units=6, seed=1, outputs=CLASSES):
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(units, "relu", name="hidden")
    stack = [keras.Input((8,)), hidden, layers.Dense(outputs, name="head")]
    return keras.Sequential(stack)


def compiled(teacher, student, loss=None, hard=CROSSENTROPY, **kwargs):
    model = kd.Distiller(
        teacher, student, loss or kd.losses.WTTM(3.0), **kwargs
    )
    metrics = ["accuracy"] if hard is CROSSENTROPY else None
    model.compile(keras.optimizers.Adam(0.01), hard, metrics=metrics)
    return model


def heads(names, seed):
    """An output for each loss."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    hidden = layers.Dense(6, "relu")(inputs)
    outputs = {name: layers.Dense(CLASSES, name=name)(hidden) for name in names}
    return keras.Model(inputs, outputs)


def every():
    """All losses at once; those of whole batches not on replicas."""
    found = every_loss.made() | every_loss.made("labels")
    if BACKEND == "tensorflow":
        found = {
            k: v for k, v in found.items() if getattr(v, "per_example", True)
        }
    hard = dict.fromkeys(found.keys() & every_loss.made().keys(), CROSSENTROPY)
    soft = dict(zip(found, np.linspace(0.5, 2.0, len(found)), strict=True))
    weights = {"hard_loss_weight": 0.7, "soft_loss_weight": soft}
    teacher, student = heads(found, 1), heads(found, 2)
    model = compiled(teacher, student, found, hard, **weights)
    return model.fit(X, dict.fromkeys(hard, Y), **FIT), model


def weighed():
    model = compiled(network(), network(4, 2))
    return model.fit(X, Y, sample_weight=WEIGHTS, **FIT), model


def weighed_classes():
    model = compiled(network(), network(4, 2))
    weights = {0: 0.5, 1: 1.0, 2: 2.0}
    return model.fit(X, Y, class_weight=weights, **FIT), model


def members():
    teacher = kd.Ensemble([network(seed=seed) for seed in (3, 4)])
    model = compiled(teacher, network(4, 2))
    return model.fit(X, Y, **FIT), model


def specialists():
    pairs = [(network(seed=5, outputs=3), [0, 1])]
    teacher = kd.specialists.SpecialistEnsemble(network(), pairs)
    model = compiled(kd.LogProbabilities(teacher), network(4, 2))
    return model.fit(X, Y, **FIT), model


def scheduled():
    falling = keras.optimizers.schedules.PolynomialDecay(3.0, 20, 1.0)
    loss = kd.losses.SoftTargets(falling)
    weights = {"hard_loss_weight": falling, "soft_loss_weight": 1.5}
    model = compiled(network(), network(4, 2), loss, **weights)
    return model.fit(X, Y, **FIT), model


def features():
    hint = kd.losses.Feature("hidden", "hidden")
    model = compiled(network(), network(4, 2), feature_losses=[hint])
    return model.fit(X, Y, **FIT), model


def half():
    """Both models in bfloat16."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = compiled(network(), network(4, 2))
        return model.fit(X, Y, **FIT), model
    finally:
        keras.config.set_dtype_policy("float32")


class Batches(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()

    def __len__(self):
        return 3

    def __getitem__(self, number):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        return X[rows], Y[rows]


def dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)


def cached(data, top_k=None, **fit):
    """Of one cache, which is made where the first of them trains."""
    folder = f"{FOLDER}/{top_k}"
    options = {"dtype": "float32", "top_k": top_k, "batch_size": BATCH}
    cache = kd.TeacherCache.build(
        network(), (X, Y), folder, verbose=0, **options
    )
    model = compiled(None, network(4, 2))
    return model.fit(cache.attach(data), **SILENT, **fit), model


IN_ORDER = {"shuffle": False}
ARRAYS = {"batch_size": BATCH, **IN_ORDER}
CASES = {
    "every loss": every,
    "sample_weight": weighed,
    "class_weight": weighed_classes,
    "Ensemble": members,
    "SpecialistEnsemble": specialists,
    "schedules": scheduled,
    "features": features,
    "mixed_bfloat16": half,
    "cache of arrays": lambda: cached((X, Y), **ARRAYS),
    "cache of top-k logits": lambda: cached((X, Y), top_k=2, **ARRAYS),
    "cache of a PyDataset": lambda: cached(Batches(), **IN_ORDER),
    "cache of tf.data": lambda: cached(dataset()),
}


def run(case):
    history, model = CASES[case]()
    weights = [np.ravel(w).tolist() for w in model.student.get_weights()]
    return {"logs": history.history, "weights": sum(weights, [])}


def main():
    if BACKEND == "tensorflow":
        worker.configure_tensorflow()
    results = {"one": {case: run(case) for case in CASES}}
    with worker.all_devices():
        results["many"] = {case: run(case) for case in CASES}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
