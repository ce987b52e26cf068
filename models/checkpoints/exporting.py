# SPDX-License-Identifier: Apache-2.0
"""Our checkpoints as files that the official code reads."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, CheckpointMismatchError, OptionError
from ...files import write_whole
from ..registry import model_info
from .describing import describe_weights
from .families import family_of
from .fitting import Fit, fit_models, pools_frames
from .layouts import detect_layout, to_own_names
from .official_names import Naming, to_official_names
from .pairs import read_weights

__all__ = ("ExportReport", "export_file")

CONTAINER = "model_state"  # where SlowFast, PyTorchVideo's hub and TimeSformer look for weights


@dataclass(frozen=True)
class ExportReport:
    """What :func:`export_file` wrote.

    Attributes:
        path: the new file.
        naming: its naming.
        architecture: of what network, in words.
        tensors: how many.
        models: the registered models that the weights fit.
        notes: what someone who loads the file should know.
    """

    path: str
    naming: Naming
    architecture: str
    tensors: int
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()


def export_file(path: str | Path, output: str | Path, naming: Naming, model: str | None = None) -> ExportReport:
    """Write the weights of a checkpoint under official names, bit for bit, as ``{"model_state": {…}}``.

    Args:
        path: a checkpoint of ours (of Lightning, or a state dict), or any other file that :func:`read_checkpoint`
            reads.
        output: the new file, written whole or not at all.
        naming: ``"slowfast"``, ``"pytorchvideo"`` or ``"timesformer"``.
        model: the registered model that the file is of; the weights must fit it. By default it is found among all; that
            is enough but for networks that none of the names stands for, see :func:`to_official_names`.

    Returns:
        A report.

    Raises:
        CheckpointMismatchError: the weights do not fit ``model``.
        CheckpointError: the naming cannot express the network, or the file cannot be read; the message says why.
        OptionError: ``output`` is the file itself or a folder.
        UnknownNameError: an unknown naming or model.

    Example:
        >>> import tempfile
        >>> from staticdropout.models.registry import create_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ours, official = Path(folder, "ours.ckpt"), Path(folder, "official.pyth")
        ...     torch.save({"state_dict": create_model("fastonly_r50", 48).state_dict()}, ours)
        ...     export_file(ours, official, "slowfast").tensors
        ...     list(torch.load(official)["model_state"])[0]
        320
        's1.pathway1_stem.conv.weight'
    """
    path, output = Path(path), Path(output)
    if output.is_dir() or (output.exists() and output.samefile(path)):
        what = "a folder" if output.is_dir() else "the file that is read"
        raise OptionError(f"The output {str(output)!r} is {what}. Give the path of a new file.")
    if model is not None:
        model_info(model)
    found, _ = read_weights(path)
    try:
        layout = detect_layout(found)
        weights = to_own_names(found, layout)
        fits = fit_models(weights, layout, None if model is None else [model])
        if model is not None and not fits[0].fits:
            raise CheckpointMismatchError(f"it does not fit {model}. {fits[0].comparison}")
        fits = [fit for fit in fits if fit.fits]
        official = to_official_names(weights, naming, pooled=_pooled(fits))
    except CheckpointError as error:
        raise type(error)(f"{str(path)!r} cannot be exported: {error}") from error
    buffer = io.BytesIO()
    torch.save({CONTAINER: official}, buffer)
    write_whole(output, buffer.getvalue())
    return ExportReport(
        path=str(output),
        naming=naming,
        architecture=describe_weights(weights),
        tensors=len(official),
        models=tuple(fit.name for fit in fits),
        notes=_notes(weights, naming),
    )


def _pooled(fits: Sequence[Fit]) -> bool | None:
    """Whether the models that the weights fit pool frames after res2; None where they do not agree."""
    pooled = {pools_frames(fit.name) for fit in fits}
    return pooled.pop() if len(pooled) == 1 else None


def _notes(weights: Mapping[str, Tensor], naming: Naming) -> tuple[str, ...]:
    notes, family = [], family_of(weights)
    norm = "res2.block0.shortcut.bn"
    if family == "X3D" and naming == "slowfast" and f"{norm}.weight" not in weights:
        notes.append(f"{norm}, which the file lacks and SlowFast's X3D has, was written as the identity.")
    if family == "X3D" and naming == "pytorchvideo" and f"{norm}.weight" in weights:
        notes.append(f"{norm}, the identity here, was left out: PyTorchVideo's X3D has no such layer.")
    if family == "MViT":
        blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
        if any(f"blocks.{block}.attn.pool_k.conv.weight" not in weights for block in blocks):
            notes.append(
                "Keys and values are not pooled in the last blocks, as in the released weights; today's official "
                "configs pool them there, so that their strict loading reports these layers."
            )
        if naming == "pytorchvideo":
            notes.append(
                "Pooling layers stand under two names, as in PyTorchVideo's present code; its release 0.1.5 knows "
                "one of them and takes the file with strict=False."
            )
    return tuple(notes)
