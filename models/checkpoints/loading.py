# SPDX-License-Identifier: Apache-2.0
"""Strict loading: every weight of the model comes from the file, except for gaps that were allowed by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from ...errors import CheckpointError, CheckpointMismatchError, OptionError, UnknownNameError
from ..adaptation import Adaptable, Adaptation
from ..heads import HEAD_MODES
from .comparing import HEAD, compare
from .describing import describe_weights
from .families import family_of
from .fitting import fit_models
from .layouts import OWN, detect_layout, to_own_names
from .pairs import read_weights
from .reading import detect_format

__all__ = ("LoadReport", "load_checkpoint")

FAST = "fast."  # what our names of the fast pathway begin with


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_checkpoint` found and did.

    Attributes:
        path: the file; of a pair of files, the encoder's.
        file_format: its packaging, as :func:`detect_format` gives it.
        layout: whose naming it was in, as :func:`detect_layout` gives it.
        architecture: what the file looks like, in words.
        loaded: number of the model's tensors that were filled from the file.
        left_out: names of the model's tensors that keep their fresh initialisation, because ``allow`` lets them.
        ignored: names in the file that the model has no place for and ``allow`` covers.
        dead: names in the file of weights that had no effect in the official network and are dropped, in our naming
            where there is one.
        notes: what the model did to fit, e.g. resized positions, a sentence each.
    """

    path: str
    file_format: str
    layout: str
    architecture: str
    loaded: int
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]
    dead: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for the log, and a line for each note."""
        fresh = f"fresh: {', '.join(self.left_out)}" if self.left_out else "nothing left fresh"
        passed = f", ignored: {', '.join(self.ignored)}" if self.ignored else ""
        head = f"Loaded {self.loaded} tensors from {self.path} ({self.layout} naming), {fresh}{passed}."
        return "\n".join((head, *self.notes))


def load_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    allow: str | Sequence[str] = (HEAD,),
    head_mode: Literal["logits", "softmax"] | None = None,
    pathway: Literal["fast"] | None = None,
) -> LoadReport:
    """Load a checkpoint of any known packaging and naming into a model, strictly.

    Nothing from the file is executed, and the model is not touched unless everything fits. Counters of batch
    normalisation (``num_batches_tracked``), which caffe2 files lack, may always be absent. A model that is not one of
    this package's is loaded by its own names.

    Args:
        model: the model, e.g. from :func:`create_model`.
        path: the file, see :func:`read_checkpoint`; for MATNet, whose authors save two, the folder with
            ``encoder_<n>.pt`` and ``decoder_<n>.pt`` (the highest n that has both) or one of them.
        allow: the gaps that are no error. ``"head"``: a last layer for another number of classes, which then keeps its
            fresh initialisation. Any other entry is a glob over names in our naming, e.g. ``"head.*"`` or
            ``"*.nonlocal*"``, for weights that the file may lack, hold in another shape, or hold in excess.
        head_mode: what the head gives in evaluation from then on: ``"logits"``, or ``"softmax"`` as the networks of the
            SlowFast repository, whose probabilities are averaged over positions; None leaves it as it is.
        pathway: ``"fast"`` takes the fast pathway of a SlowFast file for a FastOnly model, whose head stays fresh.

    Returns:
        A report: what the file is, how much was loaded, what was left out, what the model did to fit.

    Raises:
        CheckpointMismatchError: weights are missing, unexpected or of another shape; the message says which, what
            the file and the model look like, and which registered models fit.
        UnsafeCheckpointError: reading would need code from the file.
        CheckpointError: the file cannot be read.
        OptionError: ``head_mode`` for a model without such a head, or ``pathway`` for a file of one pathway.
        UnknownNameError: an unknown ``head_mode`` or ``pathway``.

    Example:
        >>> import tempfile, torch
        >>> from staticdropout.models.registry import create_model
        >>> old, new = (create_model("slowonly_r18", num_classes, width=8) for num_classes in (4, 5))
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save(old.state_dict(), file.name)
        ...     load_checkpoint(new, file.name).left_out
        ('head.fc.weight', 'head.fc.bias')
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    allow = (allow,) if isinstance(allow, str) else tuple(allow)
    _check_options(model, head_mode, pathway)
    found, file = read_weights(path)
    layout = detect_layout(found)
    ours = detect_layout(model.state_dict()) == OWN  # other modules are loaded by their own names
    weights = _translated(found, layout, path) if ours else dict(found)
    if pathway is not None:
        weights = _take_fast_pathway(weights, path)
        allow = (*allow, "head.*")
    elif family_of(weights) == "SlowFast" and family_of(model.state_dict()) == "3-D ResNet":
        raise CheckpointMismatchError(_two_pathways(path, weights, layout, model.state_dict()))

    adaptation = model.adapt_to(weights, layout) if isinstance(model, Adaptable) else Adaptation(weights)
    expected = model.state_dict()
    comparison = compare(adaptation.weights, expected, layout, allow)
    try:
        if comparison.problems:
            raise CheckpointMismatchError(_mismatch(path, layout, weights, expected, str(comparison)))
        model.load_state_dict({name: adaptation.weights[name] for name in comparison.fitting}, strict=False)
    except BaseException:
        adaptation.undo()
        raise
    if head_mode is not None:
        model.get_submodule("head").mode = head_mode
    return LoadReport(
        path=str(file),
        file_format=detect_format(file),
        layout=layout,
        architecture=describe_weights(weights),
        loaded=len(comparison.fitting),
        left_out=comparison.left_out,
        ignored=comparison.ignored,
        dead=comparison.dead,
        notes=adaptation.notes,
    )


def _check_options(model: nn.Module, head_mode: str | None, pathway: str | None) -> None:
    if head_mode is not None and head_mode not in HEAD_MODES:
        raise UnknownNameError("head_mode", head_mode, HEAD_MODES)
    if head_mode is not None and not isinstance(getattr(getattr(model, "head", None), "mode", None), str):
        raise OptionError(
            f"head_mode={head_mode!r} was given, but {type(model).__name__} has no head with a mode "
            "(`model.head.mode`). Leave it out, or put a softmax behind the model."
        )
    if pathway not in (None, "fast"):
        raise UnknownNameError("pathway", str(pathway), ("fast",))


def _translated(found: Mapping[str, Tensor], layout: str, path: str | Path) -> dict[str, Tensor]:
    try:
        return to_own_names(found, layout)
    except CheckpointError as error:
        raise CheckpointMismatchError(f"{str(path)!r} does not fit: {error}") from error


def _take_fast_pathway(weights: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    if family_of(weights) != "SlowFast":
        raise OptionError(
            f"pathway='fast' was given, but {str(path)!r} holds no SlowFast network of two pathways. Leave it out."
        )
    return {name.removeprefix(FAST): tensor for name, tensor in weights.items() if name.startswith(FAST)}


def _two_pathways(path: str | Path, weights: Mapping[str, Tensor], layout: str, expected: Mapping[str, Tensor]) -> str:
    trunk = {name: tensor for name, tensor in expected.items() if not name.startswith("head.")}
    fast = {name.removeprefix(FAST): tensor for name, tensor in weights.items() if name.startswith(FAST)}
    same = compare(fast, trunk, layout).problems == 0
    hint = " Its fast pathway fits the model but for the head: load_checkpoint(..., pathway='fast') takes it."
    return (
        f"{str(path)!r} holds a SlowFast network of two pathways ({describe_weights(weights)}), and the model has one."
        f"{_suggestion(weights, layout)}{hint if same else ''}"
    )


def _suggestion(weights: Mapping[str, Tensor], layout: str) -> str:
    names = [fit.name for fit in fit_models(weights, layout) if fit.fits]
    return f" It fits {' and '.join(names)} of this package." if names else ""


def _mismatch(
    path: str | Path, layout: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], problems: str
) -> str:
    return (
        f"{str(path)!r} does not fit the model. The file ({layout} naming) looks like: {describe_weights(weights)}. "
        f"The model is: {describe_weights(expected)}. {problems}{_suggestion(weights, layout)} "
        "Build the model that the file is of, or name the gaps you accept in load_checkpoint(..., allow=...)."
    )
