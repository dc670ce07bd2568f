"""What files hold of a Distiller: all but the teacher, of which a digest."""

from collections.abc import Iterator
from typing import Any

import keras

from keras_distill._keras.fingerprint import fingerprint, shown
from keras_distill._keras.saving import writes_legacy_file
from keras_distill._keras.trainer import FedModel

_KEY = "teacher_fingerprint"


class Identity:
    """Who the teacher is, as files tell it.

    A file has the teacher's fingerprint as it is when the file is written. One
    that is read names the teacher to expect, until a teacher has come: then it
    may change, or be replaced, as that of a new Distiller. The fingerprint that
    comes with weights counts before that of a config: those weights are what
    the teacher has trained.
    """

    def __init__(self) -> None:
        self.expected: str | None = None
        self._written: set[str] = set()

    def of(self, teacher: keras.Model | None) -> str | None:
        """What a file is to hold."""
        built = teacher is not None and teacher.built
        return fingerprint(teacher) if built else self.expected

    def write(self, store: Any, teacher: keras.Model | None) -> None:
        found = self.of(teacher)
        if found is not None:
            store[_KEY] = list(found.encode())
            self._written.add(found)

    def read(self, store: Any, teacher: keras.Model | None) -> None:
        if _KEY not in store.keys():
            return
        stored = _text(bytes(int(byte) for byte in store[_KEY]))
        if teacher is None:
            self.expected = stored
        elif stored not in self._written:
            # What this Distiller wrote itself was of this teacher, which may
            # have changed since, as a mean teacher does.
            _same(teacher, stored)

    def check(self, teacher: keras.Model) -> None:
        """Refuses a teacher other than the expected one."""
        if self.expected is not None:
            _same(teacher, self.expected)

    def replaced(self) -> None:
        """Another teacher has come, and was accepted."""
        self.expected = None
        self._written.clear()


def _same(teacher: keras.Model, expected: str) -> None:
    found = fingerprint(teacher)
    if found != expected:
        raise ValueError(
            "This Distiller was trained by another teacher. Received: a "
            f"teacher with fingerprint {shown(found)}, expected "
            f"{shown(expected)}. Pass the teacher it was trained with: one "
            "that changes during training, as a mean teacher, with the weights "
            "that it had when the file was written, from a file of its own. Or "
            "make a new kd.Distiller(teacher, distiller.student, ...) to go on "
            "with another one."
        )


def _text(stored: bytes) -> str:
    # Of the first version, the digest as it is.
    return stored.hex() if len(stored) == 32 else stored.decode()


class Saved(FedModel):
    """A FedModel in whose files the teacher is but a fingerprint.

    Abstract: a subclass has a `student` and a `teacher`, and its constructor
    takes what `own_config` gives.
    """

    _identity: Identity
    student: keras.Model
    teacher: Any

    def own_config(self) -> dict:
        """Arguments of the constructor but for teacher and student."""
        raise NotImplementedError

    def get_config(self) -> dict:
        if writes_legacy_file():
            raise _legacy("a legacy HDF5 file")
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "student": serialize(self.student),
            **self.own_config(),
            _KEY: self._identity.of(self.teacher),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> Any:
        config = dict(config)
        expected = config.pop(_KEY, None)
        terms = ("distillation_loss", "feature_losses")
        weights = ("hard_loss_weight", "soft_loss_weight")
        for name in {"student", *terms, *weights} & config.keys():
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        distiller = cls(teacher=None, **config)
        distiller._identity.expected = expected
        return distiller

    def save_own_variables(self, store: Any) -> None:
        self._identity.write(store, self.teacher)

    def load_own_variables(self, store: Any) -> None:
        self._identity.read(store, self.teacher)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.save`, to a `.keras` file."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise _legacy(f"filepath={str(filepath)!r}")
        super().save(filepath, *args, **kwargs)

    def set_state_tree(self, state_tree: dict) -> None:
        """As `keras.Model.set_state_tree`, by which Orbax's files are read.

        Keras leaves out what it finds no variable for, and says nothing.

        Raises:
            ValueError: If a weight would be left as it is.
        """
        parts = {
            "trainable_variables": self.trainable_weights,
            "non_trainable_variables": self.non_trainable_weights,
        }
        for name in parts.keys() & state_tree.keys():
            given = set(_paths(state_tree[name]))
            missing = [w.path for w in parts[name] if w.path not in given]
            if missing:
                raise _other_paths(missing, sorted(given))
        super().set_state_tree(state_tree)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.export`: of the student, which is what predicts."""
        self.student.export(filepath, *args, **kwargs)


def _paths(tree: dict) -> Iterator[str]:
    """Those of the values in a tree of dicts, as those of variables."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from (f"{name}/{path}" for path in _paths(value))
        else:
            yield name


def _other_paths(missing: list[str], given: list[str]) -> ValueError:
    return ValueError(
        "Weights would keep the values that they have: Keras looks for them by "
        f"their paths. Received: no value for {len(missing)} weights, such as "
        f"{missing[0]!r}, but values of {given[:1]}. A Sequential model that "
        "is loaded by keras.saving.load_model from a folder of OrbaxCheckpoint "
        "has other paths than before (keras issue 23251), and so have models "
        "with other names. Make the Distiller anew, with models that have "
        "names, the same as when the file was written, and call distiller."
        "load_weights, after which the optimizer begins anew; later save with "
        "keras.callbacks.ModelCheckpoint, or a student made by keras.Model("
        "inputs, outputs)."
    )


def _legacy(received: str) -> ValueError:
    return ValueError(
        "A Distiller cannot be saved whole in the legacy HDF5 format, which "
        f"has no place for a model in a model. Received: {received}. Use "
        "distiller.save('distiller.keras'), distiller.save_weights("
        "'distiller.weights.h5'), or distiller.student.save('student.h5')."
    )
