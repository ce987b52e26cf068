# SPDX-License-Identifier: Apache-2.0
"""Look into batches and outputs of any kind: dicts, tuples, dataclasses, named tuples, plain objects, nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

__all__ = ("Entry", "describe", "entries", "follow", "outer_parts", "pick", "search")

Path = tuple[str, ...]


class Entry(NamedTuple):
    """A part of a batch: the names that lead to it, and its value.

    Example:
        >>> Entry(("inputs", "0"), 1.5).dotted
        'inputs.0'
    """

    path: Path
    value: Any

    @property
    def name(self) -> str:
        """The last name of the path, in lower case; empty for the batch itself."""
        return self.path[-1].lower() if self.path else ""

    @property
    def dotted(self) -> str:
        """The path as a user writes it."""
        return ".".join(self.path)


def entries(value: Any) -> list[tuple[str, Any]]:
    """Names and values of the direct parts of a container of any kind; nothing for what is no container.

    Example:
        >>> entries({"clip": 1}), entries((1, 2)), entries(1.5)
        ([('clip', 1)], [('0', 1), ('1', 2)], [])
    """
    if value is None or isinstance(value, Tensor | nn.Module | str | bytes | int | float | type):
        return []
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, Sequence):
        names = getattr(value, "_fields", None) or range(len(value))
        return [(str(name), part) for name, part in zip(names, value, strict=True)]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    if callable(getattr(value, "keys", None)) and hasattr(value, "__getitem__"):  # TensorDict and other dicts by habit
        return [(str(key), value[key]) for key in value.keys()]  # noqa: SIM118 - it may not be iterable
    slots = [name for kind in type(value).__mro__ for name in _slots(kind) if hasattr(value, name)]
    return [(name, getattr(value, name)) for name in slots] + list(getattr(value, "__dict__", {}).items())


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if not name.startswith("__")]


def describe(value: Any, depth: int = 3) -> str:
    """Say in one line what a batch holds.

    Example:
        >>> import torch
        >>> describe({"clip": torch.zeros(2, 3, 8, 4, 4), "y": [1, 2]})
        '{clip: float32 (2, 3, 8, 4, 4), y: [int, int]}'
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    parts = entries(value) if depth else []
    if isinstance(value, Sequence) and not hasattr(value, "_fields") and (parts or not isinstance(value, str)):
        more = ", …" if len(parts) > 4 else ""
        return "[" + ", ".join(describe(part, depth - 1) for _, part in parts[:4]) + more + "]"
    if parts:
        return "{" + ", ".join(f"{name}: {describe(part, depth - 1)}" for name, part in parts) + "}"
    return type(value).__name__


def follow(batch: Any, path: str | int) -> Entry | None:
    """Follow a key, an index, an attribute, or several of them joined by dots; None where there is no such part.

    Example:
        >>> follow({"inputs": [5, 6]}, "inputs.1")
        Entry(path=('inputs', '1'), value=6)
    """
    parts = entries(batch)
    named = dict(parts)
    whole = str(path)
    # The longest name first: keys may have dots in them.
    for cut in [len(whole), *(place for place in range(len(whole) - 1, 0, -1) if whole[place] == ".")]:
        name, rest = whole[:cut], whole[cut + 1 :]
        if name not in named and isinstance(batch, Sequence) and name.lstrip("-").isdigit():
            position = int(name)
            if -len(parts) <= position < len(parts):
                name = parts[position][0]
        if name not in named:
            continue
        if not rest:
            return Entry((name,), named[name])
        if (found := follow(named[name], rest)) is not None:
            return Entry((name, *found.path), found.value)
    return None


def search(value: Any, accept: Callable[[Any], bool], depth: int = 4, _path: Path = ()) -> Iterator[Entry]:
    """All parts, however deep, that are acceptable; nothing inside an acceptable part is looked at.

    Example:
        >>> [found.dotted for found in search({"a": {"b": 1}, "c": [2, "x"]}, lambda part: isinstance(part, int))]
        ['a.b', 'c.0']
    """
    for name, part in entries(value):
        if accept(part):
            yield Entry((*_path, name), part)
        elif depth > 1:
            yield from search(part, accept, depth - 1, (*_path, name))


def pick(found: Sequence[Entry], *names: Sequence[str]) -> Entry | None:
    """The entry that is meant: the only one with a usual name, outermost first, or the only one; None if unclear.

    Args:
        found: acceptable entries.
        names: lists of usual names; a name of an earlier list outweighs those of a later one.

    Example:
        >>> pick([Entry(("x",), 1), Entry(("y",), 2)], ["a", "y"]).value
        2
        >>> pick([Entry(("x",), 1), Entry(("y",), 2)], ["x", "y"])
    """
    for usual in names:
        named = [entry for entry in found if entry.name in usual]
        if named:
            outermost = min(len(entry.path) for entry in named)
            named = [entry for entry in named if len(entry.path) == outermost]
            return named[0] if len(named) == 1 else None
    return found[0] if len(found) == 1 else None


def outer_parts(batch: Any, path: Path) -> list[Any]:
    """The containers around a part, from the innermost to the batch itself.

    Example:
        >>> outer_parts({"a": {"clip": 1, "id": 2}}, ("a", "clip"))
        [{'clip': 1, 'id': 2}, {'a': {'clip': 1, 'id': 2}}]
    """
    around = [batch]
    for name in path[:-1]:
        around.append(dict(entries(around[-1]))[name])
    return around[::-1]
