"""Prints, as JSON, what runs on one and on two devices log and learn.

SIMULATED_DEVICES in the environment asks for more than two of them.
"""

import json
import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("SIMULATED_DEVICES", "2")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count="
    + os.environ["SIMULATED_DEVICES"]
)

import keras
import numpy as np

import keras_distill as kd

DEVICES = int(os.environ["SIMULATED_DEVICES"])
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(21, 8)).astype("float32")
Y = RANDOM.integers(3, size=21)
MEAN, VARIANCE = RANDOM.normal(size=16), RANDOM.uniform(1, 2, size=16)


def make_teacher():
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(16, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(3),
    ]
    teacher = keras.Sequential(layers)
    teacher.layers[1].moving_mean.assign(MEAN)
    teacher.layers[1].moving_variance.assign(VARIANCE)
    return teacher


# No BatchNorm here: TensorFlow replicas normalise by their own share of a
# batch, so a plain Keras model would differ too.
def make_distiller(teacher):
    keras.utils.set_random_seed(2)
    regulariser = keras.regularizers.L2(0.1)
    layers = [
        keras.Input((8,)),
        keras.layers.Dense(4, "relu", kernel_regularizer=regulariser),
        keras.layers.Dense(3),
    ]
    student = keras.Sequential(layers)
    loss = kd.losses.WTTM(temperature=3.0)
    falling = keras.optimizers.schedules.PolynomialDecay(0.5, 6, 0.3)
    distiller = kd.Distiller(teacher, student, loss, hard_loss_weight=falling)
    distiller.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return distiller


def annealed(distiller):
    """New numbers after the first epoch, one of which needs another trace."""
    falling = keras.optimizers.schedules.PolynomialDecay(3.0, 6, 1.0)

    def change(epoch, logs):
        distiller.distillation_loss.temperature = falling
        distiller.soft_loss_weight = 1.5

    return keras.callbacks.LambdaCallback(on_epoch_end=change)


def run(distiller, examples):
    evaluated = distiller.evaluate(
        X[:examples], Y[:examples], batch_size=8, return_dict=True, verbose=0
    )
    history = distiller.fit(
        X[:examples],
        Y[:examples],
        validation_data=(X[:20], Y[:20]),
        batch_size=8,
        epochs=2,
        callbacks=[annealed(distiller)],
        shuffle=False,
        verbose=0,
    )
    weights = [w.ravel().tolist() for w in distiller.student.get_weights()]
    return {
        "evaluated": evaluated,
        "logs": history.history,
        "weights": sum(weights, []),
    }


def heads(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    dense = {name: keras.layers.Dense(3, name=name) for name in "ab"}
    return keras.Model(inputs, {n: layer(inputs) for n, layer in dense.items()})


def logs_of_a_second_loss():
    """Another output gets a loss, and each its own metric, during an epoch."""
    both = {name: kd.losses.SoftTargets(2.0) for name in "ab"}
    distiller = kd.Distiller(heads(1), heads(2), both | {"b": None})
    distiller.compile(keras.optimizers.SGD(0.1), loss=None)

    def change(step, logs):
        distiller.distillation_loss = both

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=change)]
    options = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    distiller.hard_loss_weight = 0
    return distiller.fit(X[:8], callbacks=callbacks, **options).history


def configure_tensorflow():
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    each = [tf.config.LogicalDeviceConfiguration()] * DEVICES
    tf.config.set_logical_device_configuration(cpu, each)


def all_devices():
    """A context of data parallel training."""
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.DataParallel()
        assert distribution.device_mesh.shape == (DEVICES,)
        return distribution.scope()
    import tensorflow as tf

    names = [f"cpu:{number}" for number in range(DEVICES)]
    strategy = tf.distribute.MirroredStrategy(names)
    assert strategy.num_replicas_in_sync == DEVICES
    return strategy.scope()


def on_two_devices(teacher_inside, examples):
    teacher = None if teacher_inside else make_teacher()
    with all_devices():
        return run(make_distiller(teacher or make_teacher()), examples)


def logs_of_whole_batches():
    """What a loss logs that compares the examples of a batch, or refuses."""
    distiller = make_distiller(make_teacher())
    distiller.distillation_loss = kd.losses.DIST(temperature=3.0)
    fit = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    try:
        return distiller.fit(X[:20], Y[:20], **fit).history["soft_loss"]
    except ValueError as error:
        return str(error)


def watched():
    """What callbacks log of one epoch."""
    teacher = make_teacher()
    data = X[:20], Y[:20]
    watches = [
        kd.callbacks.Fidelity(teacher, data),
        kd.callbacks.Diagnostics(teacher, data),
    ]
    fit = {"batch_size": 4, "shuffle": False, "verbose": 0}
    return make_distiller(teacher).fit(*data, callbacks=watches, **fit).history


def moved():
    """On how many devices a step finds the weights of a teacher from outside.

    And which of them it finds where they were a step before, of which one was
    set in between.
    """
    teacher = make_teacher()
    with all_devices():
        distiller = make_distiller(teacher)
        first, _ = distiller.fed_values("train")
        teacher.layers[0].bias.assign(np.ones(16))
        second, _ = distiller.fed_values("train")
    pairs = list(zip(first, second, strict=True))
    return {
        "devices": [len(value.sharding.device_set) for value in second],
        "same": [one is other for one, other in pairs],
        "bias": np.asarray(second[1]).tolist(),
    }


def refused_on_two_devices():
    """What a fit says whose teacher gives nothing but NaN, 8 times 3."""
    with all_devices():
        teacher = make_teacher()
        head = teacher.layers[-1]
        head.set_weights([np.nan * w for w in head.get_weights()])
        try:
            run(make_distiller(teacher), 20)
        except ValueError as error:
            return str(error)


def main():
    if keras.backend.backend() == "tensorflow":
        configure_tensorflow()
    # In batches of 8, the last batch of 20 falls into equal halves, that of 21
    # does not, which JAX refuses in Keras itself.
    results = {
        "one": run(make_distiller(make_teacher()), 20),
        "inside": on_two_devices(True, 20),
        "outside": on_two_devices(False, 20),
        "refused": refused_on_two_devices(),
        "watched, one": watched(),
        "whole batches, one": logs_of_whole_batches(),
    }
    with all_devices():
        results["watched, two"] = watched()
        results["whole batches, two"] = logs_of_whole_batches()
    if keras.backend.backend() == "jax":
        results["moved"] = moved()
        results["second loss, one"] = logs_of_a_second_loss()
        with all_devices():
            results["second loss, two"] = logs_of_a_second_loss()
    if keras.backend.backend() == "tensorflow":
        results["uneven one"] = run(make_distiller(make_teacher()), 21)
        results["uneven two"] = on_two_devices(True, 21)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
