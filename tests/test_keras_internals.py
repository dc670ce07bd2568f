"""What Keras does not promise and `keras_distill/_keras/` relies on.

A failure here on a new version of Keras says which name or convention has
changed; the docstring of the test says what breaks with it. That no name is
missing is in `test_private_names.py`; what a step relies on under a TensorFlow
strategy, in `test_distribution.py`.
"""

import itertools
from typing import Any, NamedTuple

import h5py
import keras
import models
import numpy as np
import pytest
from keras import layers, ops

from keras_distill._keras.jax import list_of_batches
from keras_distill._keras.sample_weights import mask_of

pytestmark = pytest.mark.internals

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="only on JAX do Keras's steps have a state outside of variables",
)
X, Y = models.data(8)


def compiled(model, **kwargs):
    model.compile("sgd", models.CROSSENTROPY, **kwargs)
    model.optimizer.build(model.trainable_variables)
    return model


# The graph of a Functional model.


class Halves(layers.Layer):
    def call(self, x, scale=1):
        return x[:, :2] * scale, x[:, 2:]


def test_keras_history_leads_from_a_tensor_to_its_call():
    """Else as_logits, kd.bias and the specialists find no last layer."""
    halves, inputs = Halves(), keras.Input((4,))
    halves(inputs)
    _, second = halves(inputs, scale=2)
    history = second._keras_history
    parts = history.operation, history.node_index, history.tensor_index
    assert tuple(history) == parts == (halves, 1, 1)
    node = halves._inbound_nodes[1]
    assert node.input_tensors[0] is inputs
    assert node.arguments.args[0] is inputs
    assert node.arguments.kwargs == {"scale": 2}


def test_a_layer_has_an_inbound_node_for_each_use():
    """Else the way back from an output follows another use of a layer."""
    dense = layers.Dense(4)
    dense(dense(keras.Input((4,))))
    assert len(dense._inbound_nodes) == 2


# The layers of a model.


class Held(layers.Layer):
    """Has layers where `Model.layers` does not look."""

    def __init__(self):
        super().__init__()
        self.norms = [layers.BatchNormalization() for _ in "ab"]
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, x):
        return self.norms[1](self.norms[0](x)) * self.scale


def test_flatten_layers_gives_each_layer_once_and_the_model_first():
    """Else fingerprints change, and copies and shared layers are missed."""
    held = Held()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, held(held(inputs)))
    found = list(model._flatten_layers())
    assert found[0] is model
    assert found[1:] == [model.layers[0], held, *reversed(held.norms)]


def test_layers_of_a_layer_are_its_direct_ones_and_an_operation_has_none():
    """Else sharing an unbuilt layer, or a head of layers, is overlooked."""
    held = Held()
    assert held._layers == held.norms
    operation = ops.softmax(keras.Input((4,)))._keras_history.operation
    assert not hasattr(operation, "_layers")


def test_variables_come_in_the_order_of_the_layers():
    """Else an optimizer's state is loaded for other projectors."""
    held = Held()
    held(np.ones((2, 4), "float32"))
    held._layers.reverse()
    norms = reversed(held.norms)
    expected = [v for norm in norms for v in (norm.gamma, norm.beta)]
    assert [id(v) for v in held.trainable_variables[1:]] == [
        id(v) for v in expected
    ]


def test_a_layer_lists_the_variables_that_it_owns_itself():
    """Else a teacher and a student that share a frozen layer are refused."""
    held = Held()
    held(np.ones((2, 4), "float32"))
    assert held._trainable_variables == [held.scale]
    assert held._non_trainable_variables == []
    norm = held.norms[0]
    norm.trainable = False
    assert norm._trainable_variables == [norm.gamma, norm.beta]
    assert norm.moving_mean in norm._non_trainable_variables


RANDOM = {
    "RandomBrightness": [0.1],
    "RandomCrop": [2, 2],
    "RandomRotation": [0.1],
    "RandomTranslation": [0.1, 0.1],
    "RandAugment": [],
    "AugMix": [],
    "MixUp": [],
}
NOT_RANDOM = {"Rescaling": [0.5], "CenterCrop": [2, 2], "Normalization": []}
NO_DATA_LAYER = {"Dropout": [0.5], "GaussianNoise": [0.1]}


@pytest.mark.parametrize("name", {**RANDOM, **NOT_RANDOM, **NO_DATA_LAYER})
def test_augmentation_is_a_data_layer_with_seed_generators(name):
    """Else students that augment their inputs are not warned of."""
    kinds = {**RANDOM, **NOT_RANDOM, **NO_DATA_LAYER}
    layer = getattr(layers, name)(*kinds[name])
    data_layer = layers.Rescaling.__base__
    assert isinstance(layer, data_layer) == (name not in NO_DATA_LAYER)
    assert bool(layer._seed_generators) == (name not in NOT_RANDOM)


@pytest.mark.parametrize("method", ["call", "quantized_call"])
def test_a_layer_is_called_by_what_an_instance_has_as_its_method(method):
    """Else what a layer gives cannot be taken on the way, in one pass."""
    dense = layers.Dense(3)
    dense.build((None, 4))
    if method == "quantized_call":
        dense.quantize("int8")
    own, seen = getattr(dense, method), []

    def noted(*args, **kwargs):
        seen.append(own(*args, **kwargs))
        return seen[-1]

    object.__setattr__(dense, method, noted)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Identity()(dense(inputs)))
    seen.clear()
    assert model(X) is seen[0] and len(seen) == 1
    object.__delattr__(dense, method)
    assert getattr(dense, method) == own


def test_a_layer_that_is_computed_twice_says_so():
    """Else the output of a layer inside of it is taken, and has no gradient."""
    with keras.RematScope("full"):
        dense = layers.Dense(3)
    assert dense._remat_mode and not layers.Dense(3)._remat_mode


def test_regularisers_of_all_weights_count_by_one_method():
    """Else the regularisers of a projector count in evaluation."""
    model = models.noisy()
    assert len(model._get_regularization_losses()) == 1

    class Without(keras.Model):
        def _get_regularization_losses(self):
            return []

    inputs = keras.Input((models.FEATURES,))
    assert len(keras.Model(inputs, model(inputs)).losses) == 1
    assert Without(inputs, model(inputs)).losses == []


def test_a_clone_of_a_model_that_says_it_is_not_compiled_is_not_either():
    """Else models compiled with a lambda cannot be copied."""
    model = compiled(models.linear(), metrics=[lambda y, z: ops.mean(z)])
    with pytest.warns(UserWarning, match="a `lambda`"):
        with pytest.raises(ValueError, match="lambda"):
            keras.models.clone_model(model)
    model.compiled = False
    assert not keras.models.clone_model(model).compiled


def test_supports_jit_of_the_model_itself_decides_on_compilation():
    """Else the layers of an untracked teacher have no say in it."""
    model = models.linear()
    assert all(layer.supports_jit for layer in model._flatten_layers())
    model.supports_jit = False
    with pytest.warns(UserWarning, match="doesn't support `jit_compile"):
        compiled(model, jit_compile=True)
    assert not model.jit_compile


# What `compile` makes.


def test_compile_loss_weighs_examples_and_leaves_out_regularisers():
    """Else the hard loss of a Distiller has no value of its own."""
    model = models.penalised()
    assert model._compile_loss is None
    compiled(model)
    z = ops.stop_gradient(model(X))
    for weights in (None, np.arange(8, dtype="float32")):
        found = model._compile_loss(Y, z, weights)
        assert float(found) == float(models.CROSSENTROPY(Y, z, weights))


def test_compile_keeps_the_metrics_that_it_makes_and_reports_them():
    """Else logs of unlabelled training hold metrics of labels, as 0."""
    model, both = models.two_outputs(), [models.CROSSENTROPY] * 2
    assert model._compile_metrics is model._loss_tracker is None
    model.compile("sgd", both)
    assert model._compile_metrics is None
    model.compile("sgd", both, metrics=[["accuracy"], []])
    models.step(model, X, [Y, Y])
    tracker, of_losses = model._loss_tracker, model._compile_loss.metrics
    assert tracker.name == "loss"
    assert len(of_losses) == 2
    assert model.metrics == [tracker, model._compile_metrics, *of_losses]
    assert len(model._compile_metrics.result()) == 1


def test_compiled_metrics_are_kept_as_they_were_given():
    """Else metrics of probabilities are compiled on logits unnoticed."""
    model, given, weighted = models.linear(), ["accuracy"], {"a": ["mse"]}
    model.compile("sgd", metrics=given, weighted_metrics=weighted)
    assert model._compile_metrics._user_metrics is given
    assert model._compile_metrics._user_weighted_metrics is weighted
    before = model._compile_metrics
    model.compile("sgd", metrics=given)
    assert model._compile_metrics is not before


def test_compile_without_a_loss_keeps_the_one_before():
    """Else nothing of it has to be forgotten."""
    model = compiled(models.linear())
    loss, made = model.loss, model._compile_loss
    model.compile("sgd")
    assert model.loss is loss and model._compile_loss is made
    assert model._compile_config.config["loss"] is None
    model.compile("sgd", models.CROSSENTROPY)
    assert model._compile_config.config["loss"] is models.CROSSENTROPY


def test_aggregate_additional_loss_gives_one_float():
    """Else a loss of whole numbers, or of several, breaks the objective."""
    model = compiled(models.linear())
    total = model._aggregate_additional_loss(ops.convert_to_tensor([1, 2]))
    assert float(total) == 3.0
    assert keras.backend.is_float_dtype(total.dtype)


def test_get_keras_mask_gives_the_mask_of_an_output_or_none():
    """Else labels at masked positions are taken for mistakes."""
    words, _ = models.sequences()
    found = mask_of(models.tagger(mask_zero=True)(words))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), words != 0)
    assert mask_of(models.linear()(X)) is None


# The training loop.


def recording(*names):
    """A plain model that notes each call of some of its methods."""
    calls = []

    def method(name):
        def call(self, *args, **kwargs):
            calls.append((name, args, kwargs))
            return getattr(super(model_class, self), name)(*args, **kwargs)

        return call

    body = {name: method(name) for name in names}
    model_class = type("Recording", (keras.Model,), body)
    inputs = keras.Input((models.FEATURES,))
    model = model_class(inputs, layers.Dense(models.CLASSES)(inputs))
    return compiled(model, run_eagerly=True), calls


RUNS = {
    "train": lambda m: (m.fit(X, Y, verbose=0), m.train_on_batch(X, Y)),
    "test": lambda m: (m.evaluate(X, Y, verbose=0), m.test_on_batch(X, Y)),
    "predict": lambda m: (m.predict(X, verbose=0), m.predict_on_batch(X)),
}


@pytest.mark.parametrize("phase", RUNS)
def test_a_loop_asks_for_its_function_and_keeps_what_is_there(phase):
    """Else values are not fed to a step, or a failed step loses weights."""
    make, attribute = f"make_{phase}_function", f"{phase}_function"
    model, calls = recording(make)
    assert getattr(model, attribute) is None
    RUNS[phase](model)
    assert [name for name, *_ in calls] == [make] * 2
    made = getattr(model, attribute)
    getattr(model, make)()
    assert getattr(model, attribute) is made
    getattr(model, make)(force=True)
    assert getattr(model, attribute) not in (None, made)


class OnlyNext:
    def __init__(self, batch):
        self.batch = batch

    def __next__(self):
        return self.batch


def shapes(state):
    return [[tuple(value.shape) for value in part] for part in state]


def state_of(model, phase):
    optimizer = [model.optimizer.variables] if phase == "train" else []
    metrics = [] if phase == "predict" else [model.metrics_variables]
    weights = [model.trainable_variables, model.non_trainable_variables]
    return weights + optimizer + metrics


@on_jax
@pytest.mark.parametrize("phase", RUNS)
def test_a_step_function_takes_a_state_and_needs_only_next(phase):
    """Else values cannot be fed, nor a failed step's state be given back."""
    model, _ = recording()
    attribute, seen = f"{phase}_function", []
    getattr(model, f"make_{phase}_function")()
    function = getattr(model, attribute)

    def call(state, iterator):
        seen.append(state)
        _, new_state = result = function(state, OnlyNext(next(iterator)))
        assert shapes(new_state) == shapes(state)
        return result

    setattr(model, attribute, call)
    RUNS[phase](model)
    expected = shapes(state_of(model, phase))
    assert [shapes(state) for state in seen] == [expected] * 2


@on_jax
def test_stacked_batches_of_several_steps_may_be_a_list_of_batches():
    """Else values cannot be fed to several steps in one execution."""
    model, _ = recording()
    compiled(model, steps_per_execution=2)
    model.make_train_function()
    function, seen, several = model.train_function, [], list_of_batches()

    def call(state, iterator):
        data = next(iterator)
        seen.append(len(data[0]))
        if several is None:
            return function(state, itertools.chain([data], iterator))
        one_by_one = [[array[i] for array in data[:2]] for i in range(2)]
        return function(state, OnlyNext(several(one_by_one)))

    model.train_function = call
    models.fit(model, X, Y, batch_size=4)
    # Two steps of four examples each, or the first of two batches of four.
    assert seen == [4 if several is None else 2]


@on_jax
def test_jax_state_sync_fills_the_variables_in_the_middle_of_an_epoch():
    """Else a step function made anew under a distribution finds them empty."""
    model, _ = recording()
    model.jax_state_sync()  # Nothing to do.
    seen = []

    def read(batch, logs):
        model.jax_state_sync()
        seen.append(models.snapshot(model))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=read)
    models.fit(model, X, Y, batch_size=4, callbacks=[callback])
    assert len(seen) == 2
    assert models.changed(*seen)
    models.assert_same(seen[1], models.snapshot(model))


@on_jax
def test_a_state_is_read_from_the_variables_in_one_place():
    """Else variables that share a buffer are noticed too late."""
    model, calls = recording("_get_jax_state")
    sync = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: model.jax_state_sync()
    )
    for run in RUNS.values():
        run(model)
    assert len(calls) == 2 * len(RUNS)
    models.fit(model, X, Y, batch_size=4, epochs=2, validation_data=(X, Y))
    assert len(calls) == 2 * len(RUNS) + 2 + 2
    models.fit(model, X, Y, batch_size=4, callbacks=[sync])
    assert len(calls) == 2 * len(RUNS) + 4 + 2


class Pair(NamedTuple):
    labels: Any
    other: Any


class Substituting(keras.Model):
    """Puts a pair in the place of labels, as a Distiller does."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(models.CLASSES)
        self.seen = []

    def call(self, x):
        return self.dense(x)

    def train_step(self, *args):
        *state, (x, y) = args
        return super().train_step(*state, (x, Pair(y, None), None))

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        self.seen.append(("loss", type(y), training))
        return ops.mean(y_pred)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.seen.append(("metrics", type(y), None))
        return {"own": 1.0}


def test_a_step_passes_targets_on_as_they_are():
    """Else the teacher's logits do not reach the loss beside the labels."""
    model = Substituting()
    model.compile("sgd", run_eagerly=True)
    model.fit(models.Batches(X, Y), verbose=0)
    model.seen.clear()
    logs = model.fit(models.Batches(X, Y), verbose=0).history
    # Of other names than get_metrics_result has, the step's logs count.
    assert logs == {"own": [1.0]}
    assert model.seen == [("loss", Pair, True), ("metrics", Pair, None)]


def test_an_epoch_ends_with_the_metrics_and_validation_with_evaluate():
    """Else logs of training and of validation hold metrics of the other."""
    names = ["train_step", "test_step", "get_metrics_result", "evaluate"]
    model, calls = recording(*names)
    model.fit(X, Y, validation_data=(X, Y), verbose=0)
    train, test, metrics, evaluate = names
    expected = [train, metrics, metrics, evaluate, test, metrics, metrics]
    assert [name for name, *_ in calls] == expected


# Tracking and saving.


class Owner(keras.Model):
    """A model with a property that gives access to another one."""

    hidden = ()

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(models.CLASSES)
        self.head.build((None, models.FEATURES))
        self.built = True

    @property
    def guest(self):
        return self.__dict__["_guest"]["model"]

    @guest.setter
    def guest(self, model):
        self.__dict__["_guest"] = {"model": model}

    def __dir__(self):
        return [name for name in super().__dir__() if name not in self.hidden]


def test_assignment_tracks_even_what_a_property_takes():
    """Else the override of it is in vain; without it teachers are trained."""
    model, guest = Owner(), models.linear()
    object.__setattr__(model, "guest", guest)
    assert guest not in model._flatten_layers()
    model.guest = guest
    assert guest in model._flatten_layers()


@pytest.mark.parametrize("hidden", [(), ("guest", "_guest")])
def test_saving_walks_what_dir_names(hidden, tmp_path):
    """Else files of a Distiller hold the teacher."""
    model = Owner()
    model.hidden = hidden
    object.__setattr__(model, "guest", models.linear())
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert ("guest" in file) == (not hidden)
        assert "head" in file


# Checkpoints of Orbax.


def test_a_state_tree_of_other_paths_is_ignored_in_silence():
    """When it is not, the Distiller need not look (keras issue 23251)."""
    original = compiled(models.sequential(seed=1))
    config = keras.saving.serialize_keras_object(original)
    loaded = keras.saving.deserialize_keras_object(config)
    compiled(loaded)
    before = models.snapshot(loaded)
    loaded.set_state_tree(original.get_state_tree())
    paths = [[w.path for w in model.weights] for model in (original, loaded)]
    assert paths[0] != paths[1]
    models.assert_same(models.snapshot(loaded), before, 0)
