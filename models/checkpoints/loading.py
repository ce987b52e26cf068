# SPDX-License-Identifier: Apache-2.0
"""Strict loading: every weight of the model comes from the file, except for gaps that were allowed by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from ...errors import CheckpointError, CheckpointMismatchError
from .describing import describe_weights
from .layouts import detect_layout, is_dead, to_own_names
from .pairs import read_weights
from .reading import detect_format

__all__ = ("LoadReport", "load_checkpoint")

HEAD = "head"  # in `allow`: a last layer for another number of classes, and no other gap
SHOWN = 5  # names in an error message


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_checkpoint` found and did.

    Attributes:
        path: the file; of MATNet's two, the encoder's.
        file_format: its packaging: ``"torch zip"``, ``"torch legacy"`` or ``"pickle"``.
        layout: whose names its weights have, e.g. ``"SlowFast"``.
        architecture: what its weights look like, in words.
        loaded: number of the model's tensors that were filled from the file.
        left_out: names of the model's tensors that keep their fresh initialisation, because ``allow`` lets them.
        ignored: names in the file that the model has no place for and ``allow`` covers.
        dead: names in the file of weights that had no effect in the official network and are dropped, in our naming
            where there is one.
    """

    path: str
    file_format: str
    layout: str
    architecture: str
    loaded: int
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]
    dead: tuple[str, ...] = ()


def load_checkpoint(model: nn.Module, path: str | Path, *, allow: str | Sequence[str] = (HEAD,)) -> LoadReport:
    """Load a checkpoint of any known packaging and naming into a model, strictly.

    Nothing from the file is executed, and the model is not touched unless everything fits. Counters of batch
    normalisation (``num_batches_tracked``), which caffe2 files lack, may always be absent.

    Args:
        model: the model, e.g. from :func:`create_model`.
        path: the file, see :func:`read_checkpoint`; for MATNet, whose authors save two, the folder with
            ``encoder_<n>.pt`` and ``decoder_<n>.pt`` (the highest n that has both) or one of them.
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
    found, file = read_weights(path)
    layout = "staticdropout" if set(found) & set(expected) else detect_layout(found)
    try:
        weights = to_own_names(found, layout)
    except CheckpointError as error:
        raise CheckpointMismatchError(f"{str(path)!r} does not fit: {error}") from error
    if layout == "caffe2":
        weights = {name: _pad_rank(tensor, expected.get(name)) for name, tensor in weights.items()}

    missing = [n for n in expected if n not in weights and not n.endswith("num_batches_tracked")]
    reshaped = [n for n in expected if n in weights and weights[n].shape != expected[n].shape]
    dead = [n for n in weights if n not in expected and is_dead(n, layout)]
    surplus = [n for n in weights if n not in expected and n not in dead]
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
        path=str(file),
        file_format=detect_format(file),
        layout=layout,
        architecture=describe_weights(weights),
        loaded=len(fitting),
        left_out=left_out,
        ignored=ignored,
        dead=tuple(dead),
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
