# SPDX-License-Identifier: Apache-2.0
"""Reading pickles without running them.

A pickle is a program: it may name any function of any installed module and call it. The unpickler here knows the few
names that NumPy arrays are made of, and refuses every other one before it is looked up.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np

from ...errors import CheckpointError, UnsafeCheckpointError

__all__ = ("check_program", "is_legacy_torch", "is_pickle", "refusal", "restricted_loads", "safe_numpy_globals")

TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first object in every file of torch.save before its zip format

# Asked of NumPy itself, because the module that holds these two has moved between NumPy 1 and 2.
_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_SCALAR: Any = np.float64(0).__reduce__()[0]


class _EncodeLatin1:
    """Stands in for ``_codecs.encode``, which pickles of bytes call: only their encoding, no state to change."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise UnsafeCheckpointError(refusal(f"_codecs.encode with encoding {encoding!r}"))
        return text.encode("latin1")


ALLOWED: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray._reconstruct": _RECONSTRUCT,
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy._core.multiarray.scalar": _SCALAR,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": _EncodeLatin1(),
    "collections.OrderedDict": OrderedDict,
}


def refusal(name: str) -> str:
    """Return the sentence for a file that asks for ``name``."""
    return (
        f"it asks for {name} while it is read, which could run code, so reading stopped and nothing of it was run. "
        "If you trust its origin, re-save its weights alone (a dict of name to tensor, with torch.save) and load that."
    )


def safe_numpy_globals() -> list[Any]:
    """Return what ``torch.load(weights_only=True)`` needs for NumPy numbers beside the weights, e.g. an epoch."""
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [_RECONSTRUCT, _SCALAR, np.ndarray, np.dtype, *kinds]


def is_legacy_torch(head: bytes) -> bool:
    """Tell from its first bytes whether a file is in ``torch.save``'s old format, which starts with a magic integer."""
    try:
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name in ("LONG1", "LONG"):
                return bool(argument == TORCH_MAGIC)
            if opcode.name not in ("PROTO", "FRAME"):
                return False
    except ValueError:
        pass
    return False


def is_pickle(data: bytes) -> bool:
    """Tell whether bytes are a pickle, by reading its opcodes without doing what they say."""
    if data[:1] == b"\x80" and len(data) > 1 and data[1] <= pickle.HIGHEST_PROTOCOL:
        return True
    try:  # protocols 0 and 1 have no mark at the start: only a program that parses to its end is one
        for _ in pickletools.genops(data):
            pass
    except ValueError:
        return False
    return True


def check_program(file: BinaryIO) -> None:
    r"""Go through the opcodes of a pickle without doing what they say, and refuse what only harm could mean.

    That is an entry of the memo far beyond the last one: the unpickler makes room for all below it, which a few damaged
    bytes can turn into all memory there is. And extensions, things that other code has registered with ``copyreg``.

    Args:
        file: stands at the beginning of the pickle, and behind its end afterwards.

    Raises:
        UnsafeCheckpointError: it asks for an extension.
        CheckpointError: its memo is damaged.
        ValueError: it is no pickle, or breaks off.

    Example:
        >>> check_program(io.BytesIO(pickle.dumps([1, 2])))
        >>> check_program(io.BytesIO(b"\x80\x02]r\xff\xff\xff\xff."))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        CheckpointError: it is a pickle that is damaged: entry 4294967295 of its memo follows 3 opcodes.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name.startswith("EXT"):
            raise UnsafeCheckpointError(refusal("an extension of pickle"))
        if (
            opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > number + 1
        ):  # each entry takes an opcode
            raise CheckpointError(
                f"it is a pickle that is damaged: entry {argument} of its memo follows {number + 1} opcodes."
            )


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise UnsafeCheckpointError(refusal(full))
        return ALLOWED[full]


def restricted_loads(data: bytes) -> Any:
    """Read a pickle of NumPy arrays and plain values.

    Args:
        data: the pickle; byte strings of Python 2 become ``str`` by Latin-1, as caffe2 files need.

    Returns:
        The object.

    Raises:
        UnsafeCheckpointError: the pickle asks for anything but NumPy arrays and plain values.
        CheckpointError: the pickle is broken.

    Example:
        >>> restricted_loads(pickle.dumps({"blobs": {"conv1_w": np.zeros(2)}}))
        {'blobs': {'conv1_w': array([0., 0.])}}
        >>> restricted_loads(pickle.dumps(print))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        UnsafeCheckpointError: it asks for builtins.print while it is read ...
    """
    try:
        check_program(io.BytesIO(data))
        return _RestrictedUnpickler(io.BytesIO(data), encoding="latin1").load()
    except CheckpointError:
        raise
    except Exception as error:  # a broken pickle can fail in any way
        raise CheckpointError(
            f"it is a pickle that breaks off or is damaged ({type(error).__name__}: {error})."
        ) from error
