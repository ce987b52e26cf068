# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoint files of every packaging in use, by their content and without running anything in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import CheckpointError, UnsafeCheckpointError
from .pickles import is_legacy_torch, is_pickle, refusal, restricted_loads, safe_numpy_globals

__all__ = ("detect_format", "read_checkpoint", "read_content", "weights_in")

# Where the weights are: in files of SlowFast and PyTorchVideo; of Lightning and TimeSformer; of Detectron; of caffe2.
CONTAINERS = ("model_state", "state_dict", "model", "blobs")
# What wrappers put before every name: DataParallel and DDP; torch.compile; the attribute of a LightningModule.
PREFIXES = ("module.", "_orig_mod.", "model.")


def detect_format(path: str | Path) -> str:
    """Tell from a file's content how it is packed.

    Args:
        path: the file; its name and ending do not matter.

    Returns:
        ``"torch zip"``, ``"torch legacy"`` or ``"pickle"``.

    Raises:
        CheckpointError: there is no file, or it is empty, an archive, or nothing known; the message says which.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pkl") as file:
        ...     torch.save({"weight": torch.zeros(1)}, file.name)
        ...     detect_format(file.name)
        'torch zip'
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint at {str(path)!r}. Check the path.")
    if path.is_dir():
        raise CheckpointError(f"{str(path)!r} is a folder. Give the path of a checkpoint file in it.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be opened: {error.strerror}.") from error
    if not head:
        raise CheckpointError(f"{str(path)!r} is empty. Download it again.")
    if head.startswith(b"PK"):
        return "torch zip"
    if head.startswith(b"\x1f\x8b"):
        raise CheckpointError(
            f"{str(path)!r} is a gzip archive, not a checkpoint. Unpack it (tar -xzf, or gunzip) and give a file in "
            "it: `staticdropout models inspect` tells of which network each is."
        )
    if is_legacy_torch(head):
        return "torch legacy"
    if is_pickle(head if head[:1] == b"\x80" else path.read_bytes()):
        return "pickle"
    raise CheckpointError(
        f"{str(path)!r} is neither a torch file nor a pickle: it begins with {head[:24]!r}. "
        "A download may have saved an error page or a Git LFS pointer instead of the file."
    )


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a checkpoint file, whatever its packaging, without executing anything from it.

    Torch files go through ``torch.load(weights_only=True)``, other pickles (caffe2) through an unpickler that knows
    only NumPy arrays. The weights are looked for under ``model_state``, ``state_dict``, ``model`` and ``blobs``;
    prefixes that wrappers put before every name (``module.``, ``_orig_mod.``, ``model.``) are taken off.

    Args:
        path: the file. Its packaging is read off its content, never off its name.

    Returns:
        The tensors by name, on the CPU, in the file's own naming.

    Raises:
        UnsafeCheckpointError: reading would need code from the file; none of it was run.
        CheckpointError: the file is missing, damaged, of no known format, or holds no weights.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save({"epoch": 3, "model_state": {"module.weight": torch.zeros(1)}}, file.name)
        ...     read_checkpoint(file.name)
        {'weight': tensor([0.])}
    """
    return weights_in(read_content(path), path)


def read_content(path: str | Path) -> Any:
    """Read all that is in a checkpoint file, as :func:`read_checkpoint` does: safely, and whatever its packaging.

    Returns:
        The object in the file: most often a dict of weights and of what a training needed to go on.

    Raises:
        UnsafeCheckpointError: reading would need code from the file; none of it was run.
        CheckpointError: the file is missing, damaged, or of no known format.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save({"epoch": 3, "model_state": {}}, file.name)
        ...     read_content(file.name)
        {'epoch': 3, 'model_state': {}}
    """
    path = Path(path)
    try:
        return restricted_loads(path.read_bytes()) if detect_format(path) == "pickle" else _load_torch(path)
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(f"{str(path)!r} was refused: {error}") from error
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error


def weights_in(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Find the weights in what :func:`read_content` gave.

    Args:
        content: the object.
        path: the file, for messages.

    Raises:
        CheckpointError: there are no weights in it.

    Example:
        >>> weights_in({"model_state": {"module.weight": torch.zeros(1)}}, "file")
        {'weight': tensor([0.])}
    """
    path = Path(path)
    weights = _tensors(_unwrap(content, path), path)
    if isinstance(content, Mapping) and "pytorch-lightning_version" in content:
        # A LightningModule may hold more than its model (a loss, a metric); the model is its attribute `model`.
        weights = {name: value for name, value in weights.items() if name.startswith("model.")} or weights
    return _strip_prefixes(weights)


def _load_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(safe_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's hints on how to read a file are for developers
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)|class (\S+)", str(error))
        name = next(filter(None, wanted.groups())) if wanted else "something other than weights"
        raise UnsafeCheckpointError(refusal(name)) from error
    except Exception as error:  # a damaged file can fail in any way
        if "TorchScript" in str(error):
            raise UnsafeCheckpointError(refusal("the code of a TorchScript program")) from error
        kind = (
            "a torch file"
            if not zipfile.is_zipfile(path) or _is_torch_zip(path)
            else "a zip archive, not a torch file,"
        )
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise CheckpointError(f"it is {kind} that is damaged or breaks off ({reason}). Download it again.") from error


def _is_torch_zip(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())


def _unwrap(content: Any, path: Path) -> Mapping[Any, Any]:
    """Return the mapping that holds the weights."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    found = f"a {type(content).__name__}"
    raise CheckpointError(f"{str(path)!r} holds {found} where a dict of names and weights was expected.")


def _tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            weights[str(name)] = value.detach()
        elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
            native = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
            weights[str(name)] = torch.from_numpy(native.copy()).reshape(np.shape(value))
    if not weights:
        keys = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise CheckpointError(f"{str(path)!r} holds no weights; at its top there is {keys}.")
    return weights


def _strip_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off wrappers' prefixes as long as all names have them."""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
