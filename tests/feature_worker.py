"""Prints, as JSON, what features log and learn on one and on two devices."""

import json

import distribution_worker as worker
import keras
from distribution_worker import X, Y

import keras_distill as kd


def make_student():
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(4, "relu", name="hidden"),
            keras.layers.Dense(3, name="head"),
        ]
    )


def make_distiller(loss="mse"):
    teacher = worker.make_teacher()
    names = [layer.name for layer in teacher.layers]
    falling = keras.optimizers.schedules.PolynomialDecay(0.5, 6, 0.3)
    hint = kd.losses.Feature(names[0], "hidden", loss, weight=falling)
    cosine = kd.losses.CosineDistance()
    head = kd.losses.Feature(names[2], "head", cosine)
    distiller = kd.Distiller(
        teacher,
        make_student(),
        kd.losses.SoftTargets(3.0),
        feature_losses=[hint, head],
    )
    optimizer = keras.optimizers.Adam(0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(optimizer, loss)
    return distiller


def run(distiller, epochs=2):
    weights = (X[:20, 0] > 0).astype("float32")
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    history = distiller.fit(X[:20], Y[:20], epochs=epochs, **options).history
    history |= {
        f"weighed_{name}": value
        for name, value in distiller.fit(
            X[:8], Y[:8], sample_weight=weights[:8], **options
        ).history.items()
    }
    arrays = [w.ravel().tolist() for w in distiller.get_weights()]
    return {"logs": history, "weights": sum(arrays, [])}


def relations():
    """Two steps, or what is said of them."""
    distiller = make_distiller(kd.losses.RKD())
    try:
        history = distiller.fit(X[:16], Y[:16], batch_size=8, verbose=0).history
    except ValueError as error:
        return str(error)
    return {name: values[0] for name, values in history.items()}


def main():
    if keras.backend.backend() == "tensorflow":
        worker.configure_tensorflow()
    results = {"one": run(make_distiller()), "relations, one": relations()}
    with worker.all_devices():
        results["two"] = run(make_distiller())
        results["relations, two"] = relations()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
