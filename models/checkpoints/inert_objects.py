# SPDX-License-Identifier: Apache-2.0
"""What a pickle of a module turns into when nothing of it may run: objects that only keep what they were given.

A pickle can name things (:data:`ALLOWED` and :func:`inert_class` are all that it gets), call what it was given, make
instances of classes, and set attributes of anything. So what is handed out must do nothing when it is called and must
have no state that could be changed, except for the attributes of the instances that the pickle made itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple, NoReturn, cast

import torch

from ...errors import CheckpointError, UnsafeCheckpointError
from .pickles import refusal

__all__ = ("ALLOWED", "InertModule", "SavedStorage", "SavedTensor", "attribute", "describe", "inert_class")


class _InertType(type):
    """The type of inert classes: a pickle may make instances of them, but not call or change them."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise UnsafeCheckpointError(refusal(f"a call of {cls.__module__}.{cls.__name__}"))

    def __setattr__(cls, name: str, _: Any) -> NoReturn:
        raise UnsafeCheckpointError(refusal(f"a change of {cls.__module__}.{cls.__name__} ({name!r})"))

    def __delattr__(cls, name: str) -> NoReturn:
        raise UnsafeCheckpointError(refusal(f"a change of {cls.__module__}.{cls.__name__} ({name!r})"))


class InertModule(metaclass=_InertType):
    """Stands for an object of any module class: attributes, and nothing that can be done with it."""

    def __new__(cls, *_: Any, **__: Any) -> InertModule:
        """Make an object without attributes; what the pickle passes is dropped."""
        return object.__new__(cls)


class SavedStorage(NamedTuple):
    """Numbers in a file of ``torch.save``: their count, type and, once they have been read, their bytes."""

    numel: int
    dtype: torch.dtype
    data: bytearray


class SavedTensor(NamedTuple):
    """What a pickle says of a tensor; the numbers have not been checked."""

    storage: SavedStorage
    offset: Any
    size: tuple[Any, ...]
    stride: tuple[Any, ...]


class SavedStorageType(NamedTuple):
    """Stands for a class of storages: the type of its numbers."""

    dtype: torch.dtype


class _Rebuild:
    """Stands for the functions of torch that make a tensor or parameter of its parts."""

    __slots__ = ()

    def __call__(self, first: Any = None, *rest: Any) -> SavedTensor:
        if isinstance(first, SavedTensor):  # a parameter, of its tensor
            return first
        if not isinstance(first, SavedStorage) or len(rest) < 3 or not all(isinstance(r, tuple) for r in rest[1:3]):
            raise CheckpointError("it describes a tensor in a way that torch does not.")
        return SavedTensor(first, rest[0], tuple(rest[1]), tuple(rest[2]))


class _Size:
    """Stands for ``torch.Size``: a tuple."""

    __slots__ = ()

    def __call__(self, values: Any = ()) -> tuple[Any, ...]:
        return tuple(values)


_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")

ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,  # its name in Python 2, which the protocols up to 2 keep
    "torch.Size": _Size(),
    **{f"torch._utils.{name}": _Rebuild() for name in _REBUILDERS},
    **{
        f"{module}.{name}Storage": SavedStorageType(dtype)
        for module in ("torch", "torch.cuda")
        for name, dtype in _DTYPES.items()
    },
}
"""What a pickle may name besides classes of modules, and what it is given instead."""


def inert_class(module: str, name: str) -> type[InertModule]:
    """Return a new inert class that bears the name of another.

    Example:
        >>> generator = inert_class("models", "GeneratorJ")
        >>> describe(generator.__new__(generator))
        'a models.GeneratorJ'
        >>> generator()  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        UnsafeCheckpointError: it asks for a call of models.GeneratorJ ...
    """
    return cast("type[InertModule]", _InertType(name, (InertModule,), {"__module__": module}))


def describe(thing: object) -> str:
    """Say what something in a file is, in the file's words.

    Example:
        >>> describe({})
        'a dict'
    """
    kind = type(thing)
    return f"a {kind.__module__}.{kind.__name__}" if isinstance(thing, InertModule) else f"a {kind.__name__}"


def attribute(module: InertModule, name: str, kind: type) -> Any:
    """Return an attribute of a module as a plain dict or set, empty where there is none.

    Raises:
        CheckpointError: it is something else.

    Example:
        >>> attribute(inert_class("models", "A").__new__(inert_class("models", "A")), "_modules", dict)
        {}
    """
    value: Any = object.__getattribute__(module, "__dict__").get(name)
    if value is None:
        return kind()
    if type(value) not in ((dict, OrderedDict) if kind is dict else (kind,)):
        raise CheckpointError(f"its module {describe(module)} has {describe(value)} as {name}.")
    # Through the built-in class: a pickle may give an OrderedDict attributes that hide its methods.
    return dict(dict.items(value)) if kind is dict else set(value)
