"""The files of a cache: shards of records, and a manifest.

Shards are plain `.npy` files, because they are read with NumPy alone, on every
backend and in every later version, one range of records at a time, and can be
memory-mapped by anybody. A shard's name holds the SHA-256 of its bytes, so that
one atomic rename publishes both. The manifest, `manifest.json`, is written when
all shards are there; until then the plan of the build lies in `build.json`.
Both hold a checksum of themselves. Nothing is pickled.
"""

import hashlib
import io
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_distill import _files

FORMAT = "keras_distill.TeacherCache"
VERSION = 1
MANIFEST, PLAN = "manifest.json", "build.json"
TEMPORARY = "[0-9a-f]" * 32 + ".tmp"
_SHARD = re.compile(r"shard-(\d{5,})-([0-9a-f]{64})\.npy")
_REMEDY = (
    "Delete the damaged file and call kd.TeacherCache.build again with the "
    "same teacher and dataset: only what is missing is made anew."
)


# Manifest and plan: JSON with a checksum of itself.


def to_bytes(content: dict) -> bytes:
    text = json.dumps(content, indent=1, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    signed = {**content, "sha256": digest}
    return (json.dumps(signed, indent=1, sort_keys=True) + "\n").encode()


def read_json(path: pathlib.Path) -> dict:
    """The content of a manifest or plan; refuses one that was changed."""
    data = path.read_bytes()
    try:
        content = json.loads(data)
        content.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        content = None
    if content is None or to_bytes(content) != data:
        raise ValueError(
            f"A file of the teacher cache is damaged. Received: {path}, which "
            "does not match its own checksum. Restore it from a copy, or build "
            "the cache anew in another folder."
        )
    if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            "This teacher cache has another format. Received: "
            f"{content.get('format')} version {content.get('version')} in "
            f"{path}, expected {FORMAT} version {VERSION}. Build it anew, or "
            "use the version of keras_distill that wrote it."
        )
    return content


def read_manifest(folder: pathlib.Path) -> dict:
    """The manifest of a finished cache, once its shards are there."""
    path = folder / MANIFEST
    if not path.exists():
        raise ValueError(_without_manifest(folder))
    manifest = read_json(path)
    for shard in manifest["shards"]:
        file = folder / shard["file"]
        size = file.stat().st_size if file.exists() else None
        if size != shard["bytes"]:
            raise ValueError(
                "A shard of the teacher cache is missing or cut off. Received: "
                f"{file} of {size} bytes, expected {shard['bytes']}. Delete "
                "it if it is there, and call kd.TeacherCache.build again with "
                "the same teacher and dataset: only this shard is made anew."
            )
    return manifest


def _without_manifest(folder: pathlib.Path) -> str:
    done = len(list(folder.glob("shard-*.npy")))
    if (folder / PLAN).exists():
        return (
            f"This teacher cache is unfinished. Received: {folder} with {done} "
            "shards and no manifest. Call kd.TeacherCache.build again with the "
            "same teacher and dataset to finish it."
        )
    return (
        f"There is no teacher cache. Received: {folder}, which holds {done} "
        f"shards and no {MANIFEST}. Build one with "
        "kd.TeacherCache.build, or restore the manifest."
    )


# Shards.


def shard_bytes(records: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(
        buffer, records, version=(1, 0), allow_pickle=False
    )
    return buffer.getvalue()


def write_shard(folder: pathlib.Path, number: int, records: np.ndarray) -> None:
    data = shard_bytes(records)
    digest = hashlib.sha256(data).hexdigest()
    _files.write_atomically(folder / f"shard-{number:05d}-{digest}.npy", data)


def finished_shards(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The shards that are there, by number."""
    found: dict[int, pathlib.Path] = {}
    for path in sorted(folder.glob("shard-*.npy")):
        match = _SHARD.fullmatch(path.name)
        if match is None:
            raise ValueError(
                "A file is named like a shard and is none. Received: "
                f"{path}. Move it out of the folder."
            )
        number = int(match[1])
        if number in found:
            raise ValueError(
                "There are two versions of one shard. Received: "
                f"{found[number].name} and {path.name} in {folder}. The "
                "teacher gave different logits for the same inputs in two "
                "runs, as it may on different hardware. Delete one of them."
            )
        found[number] = path
    return found


def check_digest(path: pathlib.Path) -> None:
    """Refuses a shard whose bytes are not those that were written."""
    expected = path.stem.split("-")[2]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise ValueError(
            "A shard of the teacher cache is damaged. Received: "
            f"{path}, whose SHA-256 is {digest[:12]}..., expected "
            f"{expected[:12]}... {_REMEDY}"
        )


class Shards:
    """Reads ranges of records from finished shards.

    Records are read, not memory-mapped, so that the resident memory of a
    training run does not grow with the pages that it has touched.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        shards: list[dict],
        dtype: np.dtype,
        per_shard: int,
    ) -> None:
        self._folder, self._shards, self._dtype = folder, shards, dtype
        self._per_shard = per_shard
        self._offsets: dict[int, int] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Records `start` to `stop`; checks a shard when it is first read."""
        parts = [
            self._read_part(number, first, last)
            for number, first, last in self._parts(start, stop)
        ]
        if not parts:
            return np.empty(0, self._dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        for number in range(
            start // self._per_shard, -(-stop // self._per_shard)
        ):
            before = number * self._per_shard
            first = max(start - before, 0)
            yield number, first, min(stop - before, self._per_shard)

    def _read_part(self, number: int, first: int, last: int) -> np.ndarray:
        offset = self._checked(number) + first * self._dtype.itemsize
        return np.fromfile(
            self._path(number), self._dtype, last - first, offset=offset
        )

    def _checked(self, number: int) -> int:
        """Where the records of a shard begin, once its bytes are checked."""
        if number not in self._offsets:
            check_digest(self._path(number))
            # Not NumPy's reader, whose parser fails now and then in threads.
            shard = self._shards[number]
            size = shard["examples"] * self._dtype.itemsize
            self._offsets[number] = shard["bytes"] - size
        return self._offsets[number]

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / self._shards[number]["file"]


def describe(path: pathlib.Path) -> dict[str, Any]:
    """The manifest's entry for a shard."""
    records = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "file": path.name,
        "examples": len(records),
        "bytes": path.stat().st_size,
        "sha256": path.stem.split("-")[2],
    }
