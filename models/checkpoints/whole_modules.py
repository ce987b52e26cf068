# SPDX-License-Identifier: Apache-2.0
"""The weights of a module that was saved whole, without running anything of it.

``torch.save(model)`` writes a pickle that names the class of every module in it, and reading it the usual way imports
those classes and runs whatever the file asks for. Here every class of a module becomes an empty object that only
keeps its attributes, the functions that rebuild tensors become notes of what they were called with, storages become
pieces of the file, and every other name is refused. When the pickle has been read, the weights are collected from the
attributes that every ``nn.Module`` has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError, UnsafeCheckpointError
from .inert_objects import InertModule, SavedTensor, attribute, describe
from .module_files import read_object

__all__ = ("read_whole_module",)

_MOST_MODULES = 100_000  # modules that hold each other can have more names than memory has room for


def read_whole_module(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a module that was saved whole, with ``torch.save(model, path)``.

    The classes of the module need not be installed and are not imported: the authors' generators of Texler et al.
    2020 ask for ``models.GeneratorJ``, and any class in a module called ``models`` or below ``torch.nn`` is accepted.

    Args:
        path: the file, in ``torch.save``'s zip format or in its older one; on which device it was saved does not
            matter.

    Returns:
        What ``model.state_dict()`` held: parameters and persistent buffers by name, bit for bit, on the CPU.

    Raises:
        UnsafeCheckpointError: the file asks for anything but modules and tensors; none of it was run.
        CheckpointError: the file is missing, damaged, or holds something other than a module.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save(nn.Sequential(nn.Linear(2, 1), nn.ReLU()), file.name)
        ...     {name: tuple(tensor.shape) for name, tensor in read_whole_module(file.name).items()}
        {'0.weight': (1, 2), '0.bias': (1,)}
    """
    path = Path(path)
    try:
        module = read_object(path)
        if not isinstance(module, InertModule):
            raise CheckpointError(
                f"it holds {describe(module)} where a whole module was expected. Read it with read_checkpoint."
            )
        weights = {name: _tensor(saved, name) for name, saved in _entries(module)}
        if not weights:
            raise CheckpointError(f"its module, {describe(module)}, has no weights.")
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(f"{str(path)!r} was refused: {error}") from error
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error
    return weights


def _entries(top: InertModule) -> Iterator[tuple[str, object]]:
    """Names and saved tensors of a module and of those below it, in the order of ``nn.Module.state_dict``."""
    ahead, visited = [("", top)], 0
    while ahead:
        prefix, module = ahead.pop()
        visited += 1
        if visited > _MOST_MODULES:
            raise CheckpointError(f"its modules hold each other, under more than {_MOST_MODULES} names.")
        hidden = attribute(module, "_non_persistent_buffers_set", set)
        for kind in ("_parameters", "_buffers"):
            for name, saved in attribute(module, kind, dict).items():
                if saved is not None and not (kind == "_buffers" and name in hidden):
                    yield f"{prefix}{name}", saved
        children = []
        for name, child in attribute(module, "_modules", dict).items():
            if isinstance(child, InertModule):
                children.append((f"{prefix}{name}.", child))
            elif child is not None:
                raise CheckpointError(f"its module {prefix}{name} is {describe(child)}.")
        ahead += reversed(children)


def _tensor(saved: object, name: str) -> Tensor:
    """The tensor that the file describes, with memory of its own."""
    if not isinstance(saved, SavedTensor):
        raise CheckpointError(f"its weight {name} is {describe(saved)}.")
    storage, offset, size, stride = saved
    if not all(type(number) is int and number >= 0 for number in (*size, *stride, offset)) or len(size) != len(stride):
        raise CheckpointError(f"its weight {name} has no shape: {size} with strides {stride}.")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count == 0:
        return torch.empty(storage.numel, dtype=storage.dtype)[:0].reshape(tuple(size))
    if last >= storage.numel or count > storage.numel:
        raise CheckpointError(f"its weight {name} of shape {size} does not fit into {storage.numel} saved numbers.")
    numbers: Any = torch.frombuffer(storage.data, dtype=storage.dtype)
    copy: Tensor = numbers.as_strided(size, stride, offset).clone()
    return copy
