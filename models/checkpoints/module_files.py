# SPDX-License-Identifier: Apache-2.0
"""Reading the object in a file of ``torch.save`` as inert objects, from the zip format and from the older one."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import CheckpointError, UnsafeCheckpointError
from .inert_objects import ALLOWED, InertModule, SavedStorage, SavedStorageType, inert_class
from .pickles import TORCH_MAGIC, check_program, refusal
from .reading import detect_format

__all__ = ("read_object",)

_CLASSES = ("torch.nn.", "models.")  # what stands below these becomes an inert class
_PROTOCOL = 1001  # the second number in a file of the older format


def read_object(path: Path) -> Any:
    """Read the object in a file of ``torch.save`` without running anything.

    Args:
        path: the file.

    Returns:
        The object, in which modules are :class:`.InertModule` and tensors :class:`.SavedTensor`.

    Raises:
        UnsafeCheckpointError: the file asks for something else; none of it was run.
        CheckpointError: the file is missing, damaged, or none of ``torch.save``.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save([torch.nn.ReLU()], file.name)
        ...     type(read_object(Path(file.name))[0])
        <class 'torch.nn.modules.activation.ReLU'>
    """
    kind = detect_format(path)
    if kind == "pickle":
        raise CheckpointError("it is a plain pickle, not a file of torch.save.")
    try:
        return _read_zip(path) if kind == "torch zip" else _read_legacy(path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise CheckpointError(
            f"it is a torch file that is damaged or breaks off ({type(error).__name__}: {error}). Download it again."
        ) from error


class _InertUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.storages: dict[str, SavedStorage] = {}
        self._classes: dict[str, type[InertModule]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in ALLOWED:
            return ALLOWED[full]
        if not full.startswith(_CLASSES):
            raise UnsafeCheckpointError(refusal(full))
        return self._classes.setdefault(full, inert_class(module, name))

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is tuple and len(pid) > 1 and pid[0] == "module":
            return pid[1]  # a class; in the older format its source text stands beside it
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage":
            raise CheckpointError("it refers to something that no file of torch.save holds.")
        _, kind, key, _, numel, *view = pid
        if any(part is not None for part in view):
            raise CheckpointError("it holds views of storages, which torch no longer writes. Save its weights alone.")
        if type(kind) is not SavedStorageType or type(key) is not str or type(numel) is not int or numel < 0:
            raise CheckpointError("it describes a storage in a way that torch does not.")
        storage = self.storages.setdefault(key, SavedStorage(numel, kind.dtype, bytearray()))
        if (storage.numel, storage.dtype) != (numel, kind.dtype):
            raise CheckpointError(f"it describes its storage {key} in two ways.")
        return storage


def _unpickle(file: BinaryIO, storages: dict[str, SavedStorage] | None = None) -> Any:
    """Read one pickle from where the file stands, and leave it standing behind it."""
    start = file.tell()
    check_program(file)
    end = file.tell()
    file.seek(start)
    unpickler = _InertUnpickler(file.read(end - start))
    content = unpickler.load()
    if storages is not None:
        storages.update(unpickler.storages)
    return content


def _read_zip(path: Path) -> Any:
    storages: dict[str, SavedStorage] = {}
    with zipfile.ZipFile(path) as archive:
        programs = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(programs) != 1:
            raise CheckpointError("it is a zip archive, not a torch file.")
        folder = programs[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise CheckpointError("it is a compressed zip archive, which torch does not write.")
        if f"{folder}byteorder" in archive.namelist():
            _check_order(archive.read(f"{folder}byteorder").decode())
        content = _unpickle(io.BytesIO(archive.read(programs[0])), storages)
        for key, storage in storages.items():
            storage.data.extend(archive.read(f"{folder}data/{key}"))
            _check_size(key, storage, len(storage.data))
    return content


def _read_legacy(path: Path) -> Any:
    storages: dict[str, SavedStorage] = {}
    with path.open("rb") as file:
        if _unpickle(file) != TORCH_MAGIC or _unpickle(file) != _PROTOCOL:
            raise CheckpointError("it is of a version of torch's older format that is not known.")
        _check_order("little" if _unpickle(file).get("little_endian", True) else "big")
        content = _unpickle(file, storages)
        for key in _unpickle(file):
            storage = storages[key]
            (numel,) = struct.unpack("<q", file.read(8))
            size = numel * storage.dtype.itemsize
            _check_size(key, storage, size)
            if size > path.stat().st_size - file.tell():
                raise CheckpointError("it breaks off among its weights. Download it again.")
            storage.data.extend(file.read(size))
    for key, storage in storages.items():
        _check_size(key, storage, len(storage.data))
    return content


def _check_order(order: str) -> None:
    if order != sys.byteorder:
        raise CheckpointError(f"its numbers are {order}-endian and this machine is {sys.byteorder}-endian.")


def _check_size(key: str, storage: SavedStorage, size: int) -> None:
    expected = storage.numel * storage.dtype.itemsize
    if size != expected:
        raise CheckpointError(f"its storage {key} has {size} bytes where {expected} were expected. Download it again.")
