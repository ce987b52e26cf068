# SPDX-License-Identifier: Apache-2.0
"""What of a file goes into a model, what stays fresh, and what does not fit: by names and shapes alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from .layouts import is_dead

__all__ = ("HEAD", "Comparison", "compare")

HEAD = "head"  # in `allow`: a last layer for another number of classes, and no other gap
LAST_LAYER = "head.fc."
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Comparison:
    """Weights against a model's tensors.

    Attributes:
        fitting: names that are loaded.
        left_out: names of the model's tensors that the file does not fill, as allowed.
        ignored: names in the file that the model has no place for, as allowed.
        dead: names in the file of weights that had no effect in the official network.
        missing: names of the model that the file lacks.
        reshaped: names with another shape in the file, and both shapes, as text.
        surplus: names that the model has no place for.
    """

    fitting: tuple[str, ...]
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]
    dead: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    surplus: tuple[str, ...]

    @property
    def problems(self) -> int:
        """Number of names that do not fit and were not allowed."""
        return len(self.missing) + len(self.reshaped) + len(self.surplus)

    def __str__(self) -> str:
        lines = []
        kinds = {
            "missing in the file": self.missing,
            "of another shape": self.reshaped,
            "not in the model": self.surplus,
        }
        for kind, names in kinds.items():
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                lines.append(f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}.")
        return " ".join(lines)


def compare(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], layout: str, allow: Sequence[str] = ()
) -> Comparison:
    """Compare weights with a model's state dict, strictly but for named gaps.

    Args:
        weights: tensors by our names.
        expected: the model's state dict; only its names and shapes count.
        layout: the file's naming, which says what is dead.
        allow: as in :func:`load_checkpoint`.

    Example:
        >>> import torch
        >>> print(compare({"a": torch.ones(2)}, {"a": torch.ones(3), "b": torch.ones(1)}, "unknown"))
        1 missing in the file: b. 1 of another shape: a (2,) instead of (3,).
    """
    missing = [n for n in expected if n not in weights and not n.endswith("num_batches_tracked")]
    reshaped = [n for n in expected if n in weights and weights[n].shape != expected[n].shape]
    dead = [n for n in weights if n not in expected and is_dead(n, layout)]
    surplus = [n for n in weights if n not in expected and n not in dead]
    head = _other_class_count(reshaped, weights, expected) if HEAD in allow else set()
    globs = [pattern for pattern in allow if pattern != HEAD]
    gaps = {n for n in (*missing, *reshaped, *surplus) if n in head or any(fnmatchcase(n, glob) for glob in globs)}
    return Comparison(
        fitting=tuple(n for n in weights if n in expected and n not in gaps and n not in reshaped),
        left_out=tuple(n for n in expected if n in gaps),
        ignored=tuple(n for n in surplus if n in gaps),
        dead=tuple(dead),
        missing=tuple(n for n in missing if n not in gaps),
        reshaped=tuple(
            f"{n} {tuple(weights[n].shape)} instead of {tuple(expected[n].shape)}" for n in reshaped if n not in gaps
        ),
        surplus=tuple(n for n in surplus if n not in gaps),
    )


def _other_class_count(
    reshaped: Collection[str], weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> set[str]:
    """Return the names of a head that differs in its number of classes and in nothing else."""
    head = [n for n in expected if n.startswith(LAST_LAYER) and n in weights]
    shape_but_classes = all(weights[n].shape[1:] == expected[n].shape[1:] for n in head)
    counts = {weights[n].shape[0] for n in head if weights[n].ndim > 0}
    whole = len(head) == len([n for n in expected if n.startswith(LAST_LAYER)])
    return set(head) & set(reshaped) if whole and shape_but_classes and len(counts) == 1 else set()
