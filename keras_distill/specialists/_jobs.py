"""The training of one specialist, here or in another process.

A job's files bear a name made of all that decides its result: `<name>.keras`,
the finished specialist; `<name>.json`, what it was trained on; and until then
`<name>-<epoch>.keras`, the last checkpoint.
"""

import contextlib
import copy
import hashlib
import json
import pathlib
import time
import uuid
import warnings
import zipfile
from dataclasses import asdict, dataclass
from typing import Any

import keras

from keras_distill import _files, bias
from keras_distill._keras import layout
from keras_distill._keras.copies import not_compiled
from keras_distill.specialists._build import build_specialist
from keras_distill.specialists._data import (
    SpecialistData,
    examples_of,
    some_inputs,
    specialist_dataset,
)
from keras_distill.specialists._digests import digest_of_generalist

_ONE_DAY = 24 * 60 * 60
# What Keras raises for a file that is missing or cut short.
_DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Settings:
    """What all jobs of a call have in common."""

    generalist: str  # Digest of its weights, flags and dtypes.
    examples: Any
    backend: str
    optimizer: dict
    epochs: int
    batch_size: int
    full_softmax: bool
    special_share: float
    seed: int


@dataclass(frozen=True)
class Job:
    """One specialist to train."""

    folder: pathlib.Path
    classes: list[int]
    settings: Settings

    @property
    def name(self) -> str:
        # Another backend may go on where one has stopped.
        settings = {**asdict(self.settings), "backend": None}
        plan = json.dumps([self.classes, settings], sort_keys=True)
        return f"specialist-{hashlib.sha256(plan.encode()).hexdigest()[:16]}"

    @property
    def path(self) -> pathlib.Path:
        return self.folder / f"{self.name}.keras"

    @property
    def generalist_path(self) -> pathlib.Path:
        digest = self.settings.generalist[:16]
        return self.folder / f"generalist-{digest}.keras"

    def load(self) -> keras.Model:
        try:
            with layout.as_far_as_divisible():
                return keras.models.load_model(self.path, compile=False)
        except _DAMAGED as error:
            raise ValueError(
                f"{self.path} is damaged. Received: {error} Delete it and call "
                "train_specialists again; the others are kept."
            ) from error


def keep_generalist(generalist: keras.Model, job: Job) -> None:
    """Writes the generalist for the jobs, and makes sure that it loads."""
    if job.generalist_path.exists():
        with contextlib.suppress(*_DAMAGED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _kept(job) == job.settings.generalist:
                return
    with not_compiled(generalist):
        _save(generalist, job.generalist_path)
    try:
        found = _kept(job)
    except Exception as error:
        raise ValueError(
            "`generalist` must be one that keras.models.load_model can load, "
            "as each job does. Received: a generalist for which that fails: "
            f"{error} Use registered layers, and no Lambda."
        ) from error
    if found != job.settings.generalist:
        raise ValueError(
            "`generalist` must be the same after saving and loading. Received: "
            f"generalist={generalist.name!r}, which is not. Look for layers "
            "whose get_config or weights are incomplete."
        )


def _kept(job: Job) -> str:
    path = job.generalist_path
    return digest_of_generalist(keras.models.load_model(path, compile=False))


def train(job: Job, dataset: Any) -> dict[str, Any]:
    """Trains, or goes on training, a specialist; returns what to report."""
    if job.path.exists():
        return json.loads(job.path.with_suffix(".json").read_text())
    _require_backend(job.settings.backend)
    start = time.perf_counter()
    generalist = keras.models.load_model(job.generalist_path, compile=False)
    dataset = dataset() if callable(dataset) else dataset
    dataset = examples_of(dataset, generalist.outputs[0].shape[-1])
    keras.utils.set_random_seed(job.settings.seed)
    data = _mixed(job, generalist, dataset)
    model, epoch = _resumed(job)
    if model is None:
        model = _new(job, generalist, dataset)
    loss = _fitted(model, job, data, epoch)
    report = {
        "classes": job.classes,
        "settings": asdict(job.settings),
        "natural_share": data.natural_share,
        "correction": data.correction,
        "loss": loss,
        "seconds": time.perf_counter() - start,
    }
    _keep_report(job, report)
    _save(_corrected(model, job, data.correction), job.path)
    for _, path in _checkpoints(job):
        path.unlink(missing_ok=True)
    _clear_up(job.folder)
    return report


def _mixed(job: Job, generalist: keras.Model, dataset: Any) -> SpecialistData:
    settings = job.settings
    return specialist_dataset(
        dataset,
        job.classes,
        soft_targets=generalist if settings.full_softmax else None,
        special_share=settings.special_share,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def _fitted(
    model: keras.Model, job: Job, data: SpecialistData, epoch: int
) -> float | None:
    """Trains from an epoch on; the last loss, None if none was left."""
    streams = not isinstance(data.dataset, keras.utils.PyDataset)
    history = model.fit(
        data.dataset,
        epochs=job.settings.epochs,
        initial_epoch=epoch,
        steps_per_epoch=data.steps_per_epoch if streams else None,
        shuffle=False,  # The data are, in an order of their own.
        callbacks=[_Checkpoint(job, data.dataset)],
        verbose=0,
    )
    return float(history.history["loss"][-1]) if history.epoch else None


def _clear_up(folder: pathlib.Path) -> None:
    """Removes what killed processes left; younger files may be in use."""
    for path in folder.glob("tmp-*.keras"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ONE_DAY:
                path.unlink()


def _keep_report(job: Job, report: dict) -> None:
    path = job.path.with_suffix(".json")
    if report["loss"] is None and path.exists():
        return  # That of the process that did the last epoch.
    text = json.dumps(report, indent=1) + "\n"
    _files.write_atomically(path, text.encode())


def _require_backend(backend: str) -> None:
    if keras.backend.backend() != backend:
        raise ValueError(
            "All workers must use one backend. Received: "
            f"{keras.backend.backend()} on a worker, {backend} where "
            "train_specialists was called. Set KERAS_BACKEND for the workers."
        )


def _new(job: Job, generalist: keras.Model, dataset: Any) -> keras.Model:
    settings = job.settings
    model = build_specialist(
        generalist,
        job.classes,
        inputs=None if settings.full_softmax else some_inputs(dataset),
        full_softmax=settings.full_softmax,
    )
    soft = keras.losses.CategoricalCrossentropy(from_logits=True)
    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if not model.trainable_weights:
        raise ValueError(
            "There is nothing to train: no weight of the specialist is "
            "trainable. Set trainable=True on layers of the generalist."
        )
    model.compile(
        # Keras changes the configuration of a schedule in place.
        keras.optimizers.deserialize(copy.deepcopy(settings.optimizer)),
        soft if settings.full_softmax else hard,
    )
    return model


def _corrected(model: keras.Model, job: Job, amount: float) -> keras.Model:
    if job.settings.full_softmax:
        return bias.shift_bias(model, job.classes, -amount)
    return bias.shift_bias(model, [len(job.classes)], amount)


class _Checkpoint(keras.callbacks.Callback):
    """Keeps the model after each epoch, and tells the data which one it is."""

    def __init__(self, job: Job, dataset: Any) -> None:
        super().__init__()
        self._job, self._dataset = job, dataset

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if hasattr(self._dataset, "epoch"):
            self._dataset.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        path = self._job.folder / f"{self._job.name}-{epoch + 1:05d}.keras"
        _save(self.model, path)
        for done, other in _checkpoints(self._job):
            if done <= epoch:  # Not what another process has done since.
                other.unlink(missing_ok=True)


def _checkpoints(job: Job) -> list[tuple[int, pathlib.Path]]:
    """The epochs that are done and their files, the last one first."""
    paths = job.folder.glob(f"{job.name}-*.keras")
    numbered = [(path.stem.rpartition("-")[2], path) for path in paths]
    found = [(int(n), path) for n, path in numbered if n.isdigit()]
    return sorted(found, reverse=True)


def _resumed(job: Job) -> tuple[keras.Model | None, int]:
    for epoch, path in _checkpoints(job):
        try:
            with layout.as_far_as_divisible():
                return keras.models.load_model(path), epoch
        except _DAMAGED as error:
            warnings.warn(
                f"{path} cannot be read, and its epochs are trained again: "
                f"{error}",
                stacklevel=2,
            )
    return None, 0


def _save(model: keras.Model, path: pathlib.Path) -> None:
    """A file that appears whole or not at all."""
    temporary = path.with_name(f"tmp-{path.stem}-{uuid.uuid4().hex}.keras")
    try:
        model.save(temporary)
        _files.publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
