# SPDX-License-Identifier: Apache-2.0
"""Strict loading: every weight of the model comes from the file, except for gaps that were allowed by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from ...errors import CheckpointError, CheckpointMismatchError
from .layouts import detect_layout, to_own_names
from .reading import detect_format, read_checkpoint

__all__ = ("LoadReport", "describe_weights", "load_checkpoint")

HEAD = "head"  # in `allow`: a last layer for another number of classes, and no other gap
SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_checkpoint` found and did.

    Attributes:
        path: the file.
        file_format: its packaging: ``"torch zip"``, ``"torch legacy"`` or ``"pickle"``.
        layout: whose names its weights have, e.g. ``"SlowFast"``.
        architecture: what its weights look like, in words.
        loaded: number of the model's tensors that were filled from the file.
        left_out: names of the model's tensors that keep their fresh initialisation, because ``allow`` lets them.
        ignored: names in the file that the model has no place for and ``allow`` covers.
    """

    path: str
    file_format: str
    layout: str
    architecture: str
    loaded: int
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]


def load_checkpoint(model: nn.Module, path: str | Path, *, allow: str | Sequence[str] = (HEAD,)) -> LoadReport:
    """Load a checkpoint of any known packaging and naming into a model, strictly.

    Nothing from the file is executed, and the model is not touched unless everything fits. Counters of batch
    normalisation (``num_batches_tracked``), which caffe2 files lack, may always be absent.

    Args:
        model: the model, e.g. from :func:`create_model`.
        path: the file, see :func:`read_checkpoint`.
        allow: the gaps that are no error. ``"head"``: a last layer for another number of classes, which then keeps its
            fresh initialisation. Any other entry is a glob over names in our naming, e.g. ``"head.*"`` or
            ``"*.nonlocal*"``, for weights that the file may lack, hold in another shape, or hold in excess.

    Returns:
        A report: what the file is, how much was loaded, what was left out.

    Raises:
        CheckpointMismatchError: weights are missing, unexpected or of another shape; the message says which, and what
            the file and the model look like.
        UnsafeCheckpointError: reading would need code from the file.
        CheckpointError: the file cannot be read.

    Example:
        >>> import tempfile, torch
        >>> from staticdropout.models.registry import create_model
        >>> old, new = (create_model("slowonly_r18", num_classes, width=8) for num_classes in (4, 5))
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save(old.state_dict(), file.name)
        ...     load_checkpoint(new, file.name).left_out
        ('head.fc.weight', 'head.fc.bias')
    """
    allow = (allow,) if isinstance(allow, str) else tuple(allow)
    expected = dict(model.state_dict())
    found = read_checkpoint(path)
    layout = "staticdropout" if set(found) & set(expected) else detect_layout(found)
    try:
        weights = to_own_names(found, layout)
    except CheckpointError as error:
        raise CheckpointMismatchError(f"{str(path)!r} does not fit: {error}") from error
    if layout == "caffe2":
        weights = {name: _pad_rank(tensor, expected.get(name)) for name, tensor in weights.items()}

    missing = [n for n in expected if n not in weights and not n.endswith("num_batches_tracked")]
    reshaped = [n for n in expected if n in weights and weights[n].shape != expected[n].shape]
    surplus = [n for n in weights if n not in expected]
    head = _other_class_count(reshaped, weights, expected) if HEAD in allow else set()
    globs = [pattern for pattern in allow if pattern != HEAD]
    gaps = {n for n in (*missing, *reshaped, *surplus) if n in head or any(fnmatchcase(n, glob) for glob in globs)}
    problems = {
        "missing in the file": [n for n in missing if n not in gaps],
        "of another shape": [
            f"{n} {tuple(weights[n].shape)} instead of {tuple(expected[n].shape)}" for n in reshaped if n not in gaps
        ],
        "not in the model": [n for n in surplus if n not in gaps],
    }
    if any(problems.values()):
        raise CheckpointMismatchError(_mismatch(path, layout, weights, expected, problems))

    fitting = {n: tensor for n, tensor in weights.items() if n in expected and n not in gaps}
    model.load_state_dict(fitting, strict=False)
    left_out = tuple(n for n in expected if n in gaps)
    ignored = tuple(n for n in surplus if n in gaps)
    return LoadReport(
        str(path), detect_format(path), layout, describe_weights(weights), len(fitting), left_out, ignored
    )


def _pad_rank(tensor: Tensor, target: Tensor | None) -> Tensor:
    """Append axes of size 1, as SlowFast's converter does: caffe2 may store a blob without them."""
    if target is None or tensor.ndim >= target.ndim:
        return tensor
    return tensor.reshape(*tensor.shape, *(1,) * (target.ndim - tensor.ndim))


def _other_class_count(
    reshaped: Collection[str], weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> set[str]:
    """Return the names of a head that differs in its number of classes and in nothing else."""
    head = [n for n in expected if n.startswith("head.fc.") and n in weights]
    shape_but_classes = all(weights[n].shape[1:] == expected[n].shape[1:] for n in head)
    counts = {weights[n].shape[0] for n in head if weights[n].ndim > 0}
    whole = len(head) == len([n for n in expected if n.startswith("head.fc.")])
    return set(head) & set(reshaped) if whole and shape_but_classes and len(counts) == 1 else set()


def _mismatch(
    path: str | Path,
    layout: str,
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    problems: Mapping[str, list[str]],
) -> str:
    lines = []
    for kind, names in problems.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}.")
    return (
        f"{str(path)!r} does not fit the model. The file ({layout} naming) looks like: {describe_weights(weights)}. "
        f"The model is: {describe_weights(expected)}. {' '.join(lines)} "
        "Build the model that the file is of, or name the gaps you accept in load_checkpoint(..., allow=...)."
    )


def describe_weights(weights: Mapping[str, Tensor]) -> str:
    """Say in words which 3-D ResNet a state dict (in our names) belongs to.

    Args:
        weights: tensors by name.

    Returns:
        One line; for any other network only the number of tensors.

    Example:
        >>> from staticdropout.models.registry import create_model
        >>> describe_weights(create_model("slowonly_r18", num_classes=5, width=8).state_dict())
        '3-D ResNet, 2-2-2-2 bottleneck blocks, width 8, temporal kernels 1 | 1,1 | 1,1 | 3,3 | 3,3, 5 classes'
    """
    kernels: dict[int, list[int]] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"res(\d)\.block\d+\.conv_a\.weight", name)
        if match and tensor.ndim == 5:
            kernels.setdefault(int(match[1]), []).append(tensor.shape[2])
    stem = weights.get("stem.conv.weight")
    if not kernels or stem is None or stem.ndim != 5:
        return f"no 3-D ResNet that is known here, {len(weights)} tensors"
    stages = [kernels[stage] for stage in sorted(kernels)]
    block = "bottleneck" if any(name.endswith(".conv_c.weight") for name in weights) else "basic"
    nonlocal_blocks = sum(name.endswith(".conv_theta.weight") for name in weights)
    classes = weights.get("head.fc.weight")
    parts = [
        "3-D ResNet",
        f"{'-'.join(str(len(stage)) for stage in stages)} {block} blocks",
        f"width {stem.shape[0]}",
        f"temporal kernels {' | '.join(','.join(map(str, stage)) for stage in [[stem.shape[2]], *stages])}",
        f"{nonlocal_blocks} non-local blocks" if nonlocal_blocks else "",
        f"{classes.shape[0]} classes" if classes is not None and classes.ndim else "no head",
    ]
    return ", ".join(filter(None, parts))
