"""Files that appear whole or not at all, also after a power cut.

A file is written under another name, in the same folder, and gets its own name
when its bytes are on the disk. What a killed process leaves is a file with the
name of no finished one.
"""

import contextlib
import os
import pathlib
import uuid


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Makes a file of bytes, or replaces it.

    Raises:
        OSError: If it cannot be written, of the class and number that the
            system gave.
    """
    try:
        while not _written(path, data):
            pass
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} while writing {path.name}. Nothing that was "
            "finished is lost: mend the cause, and make the same call again "
            "to go on",
            str(path.parent),
        ) from error


def _written(path: pathlib.Path, data: bytes) -> bool:
    """Not where another process took the bytes for what a killed one left."""
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            return False
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return True


def publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a file that another library wrote its name, or replaces one."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    if os.name == "nt":  # Folders cannot be opened there.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
