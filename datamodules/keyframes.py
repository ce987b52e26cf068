# SPDX-License-Identifier: Apache-2.0
"""Painted keyframes as training data: KeyframeDataModule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import OptionError
from .keyframe_clip import KeyframeClip
from .keyframe_files import (
    FILTERED,
    INPUT,
    Keyframe,
    clip_folder,
    find_keyframes,
    guide_folder,
    keyframes_digest,
    pictures_in,
    training_folder,
)
from .keyframe_patches import KeyframePatches, PatchDraws, read_painted, read_pixels, read_source
from .keyframe_preparation import prepare_keyframes
from .loaders import make_loader
from .option_checks import check_counts
from .resumable_loader import ResumableLoader
from .seeded_module import SeededDataModule

__all__ = ("KeyframeDataModule",)

_USUAL = 4


class KeyframeDataModule(SeededDataModule):
    """Patches of one to four painted keyframes, and whole frames to look at.

    Training batches are dicts of floats in [-1, 1]: ``input`` ``(B, 3 + 3 g, h, w)``, the frame and its ``g`` guide
    images; ``target`` ``(B, 3, h, w)``, the same patch as it was painted; ``reference`` ``(B, 3, h, w)``, a patch from
    a random place of the same painting. Patches are drawn as in the official ``data.py``: from the keyframes by turns;
    centres in random order, without replacement, among pixels whose 7x7 neighbours all lie in the mask. One difference:
    a patch that would leave the picture is moved inside; there the official code fills it up with grey, and never sees
    the last row and column. The order follows from the seed alone, and goes on exactly after a resume.

    Validation batches hold one whole picture: ``input`` ``(1, 3 + 3 g, H, W)``, ``id`` ``[name]``, and for a keyframe
    ``target`` ``(1, 3, H, W)``.

    Folders are those of the official code: ``NAME_train`` with ``input`` (or ``input_filtered``), ``output`` (painted)
    and perhaps ``mask`` (white where it is painted), the files of a keyframe under the same name; ``NAME_gen`` beside
    it with ``input``, all frames of the clip.

    Args:
        root: ``NAME_train``, a folder with one such folder in it, or ``NAME``.
        frames: the clip as a video or a folder, where it is not in ``NAME_gen/input``; for previews, the filter and the
            guide images. Without a clip, previews show the keyframes.
        prefilter: train on frames with the noise filtered out over time (``input_filtered``). None: if that folder is
            there.
        guides: sigmas of guide images, e.g. ``[10]``: pictures that tell places of the clip apart where the frame
            looks alike.
        guide_radius: distance of their spots in pixels.
        patch_size: height and width of a patch.
        batch_size: patches in a batch.
        batches_per_epoch: batches between two validations; the log interval of the official code.
        num_previews: frames of the clip, evenly spread, that are styled at each validation beside the keyframes.
        num_workers: worker processes; cutting patches takes less time than handing them over.
        reader: of videos: decord, torchcodec or pyav.

    Attributes:
        keyframes: the files of every keyframe, after :meth:`setup`.
        prefilter: whether the frames are filtered; settled by :meth:`setup` where it was None.

    Raises:
        OptionError: for an option out of range.

    Example:
        >>> KeyframeDataModule("Zuzka2_train", guides=[10, 15]).in_channels
        9
    """

    def __init__(
        self,
        root: str,
        frames: str | None = None,
        prefilter: bool | None = None,
        guides: Sequence[float] = (),
        guide_radius: float = 10,
        patch_size: int = 32,
        batch_size: int = 40,
        batches_per_epoch: int = 1000,
        num_previews: int = 6,
        num_workers: int = 0,
        reader: str = "decord",
    ) -> None:
        super().__init__()
        check_counts(batch_size=batch_size, batches_per_epoch=batches_per_epoch)
        if patch_size < 8 or patch_size % 4:
            raise OptionError(f"patch_size must be a multiple of 4 of at least 8; got {patch_size!r}.")
        if num_previews < 0 or num_workers < 0:
            raise OptionError(f"num_previews={num_previews} and num_workers={num_workers} must not be negative.")
        if guide_radius <= 0 or any(sigma <= 0 for sigma in guides):
            raise OptionError(f"guide_radius={guide_radius} and guides={list(guides)} must be above 0, in pixels.")
        guides = [float(sigma) for sigma in guides]
        # into checkpoints, not to the logger: Lightning refuses to log a name that the model uses with another value
        self.save_hyperparameters(logger=False)
        self.root, self.frames, self.reader = root, frames, reader
        self.prefilter, self.guides, self.guide_radius = prefilter, guides, float(guide_radius)
        self.patch_size, self.batch_size, self.batches_per_epoch = patch_size, batch_size, batches_per_epoch
        self.num_previews, self.num_workers = num_previews, num_workers
        self.keyframes: list[Keyframe] = []

    @property
    def in_channels(self) -> int:
        """Channels of ``input``: three, and three for each guide image."""
        return 3 + 3 * len(self.guides)

    @property
    def _guide_folders(self) -> list[str]:
        return [guide_folder(self.guide_radius, sigma) for sigma in self.guides]

    def _clip(self) -> KeyframeClip | None:
        """The frames of the clip as they were filmed, if they are there."""
        if self.frames is not None:
            return KeyframeClip(self.frames, self.reader)
        folder = clip_folder(training_folder(self.root)) / INPUT
        return KeyframeClip(folder) if pictures_in(folder) else None

    def prepare_data(self) -> None:
        """Compute filtered frames and guide images that are wanted and missing.

        Raises:
            DatasetNotFoundError: the keyframes or the frames are not there.
            AnnotationError: the keyframes are none of the clip.
            OptionError: the files cannot be written.
        """
        train = training_folder(self.root)
        if self.prefilter or self.guides:
            prepare_keyframes(train, self._clip(), bool(self.prefilter), self.guides, self.guide_radius)

    def setup(self, stage: str | None = None) -> None:
        """Find and check the keyframes.

        Raises:
            DatasetNotFoundError: there is none, or a folder is missing.
            AnnotationError: a keyframe has no twin, or not its size.
        """
        train = training_folder(self.root)
        if self.prefilter is None:
            self.prefilter = bool(pictures_in(train / FILTERED))
        is_known = bool(self.keyframes)  # and has been told: a Trainer calls this again
        self.keyframes = find_keyframes(train, self.prefilter, self._guide_folders)
        if len(self.keyframes) > _USUAL and not is_known:
            rank_zero_info(
                f"{len(self.keyframes)} keyframes: the paper has one to {_USUAL}. More are fine where they agree; "
                "where one place is painted in two ways, the network learns their mean."
            )

    @property
    def trained_on(self) -> dict[str, str]:
        """What tells these keyframes from others, as it is kept in checkpoints: ``folder`` and ``digest``."""
        return {"folder": str(training_folder(self.root)), "digest": keyframes_digest(self.keyframes)}

    def state_dict(self) -> dict[str, Any]:
        """The seed of the patches, and what keyframes they are cut from."""
        return super().state_dict() | ({"keyframes": self.trained_on} if self.keyframes else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as a checkpoint says.

        Raises:
            OptionError: it was trained on other keyframes: the painting of one would be mixed with that of the other.
        """
        super().load_state_dict(state_dict)
        is_training = self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if is_training and "keyframes" in state_dict:
            self.refuse_others(state_dict["keyframes"])

    def refuse_others(self, before: Any) -> None:
        """Compare with the keyframes that a training began with, as :attr:`trained_on` told them.

        Raises:
            OptionError: they are others, or have changed.
        """
        now = self.trained_on
        was = before if isinstance(before, dict) else {}
        if was.get("digest") != now["digest"]:
            raise OptionError(
                f"This training began with keyframes in {was.get('folder')!r}, and those in {now['folder']!r} are "
                "others: a frame, painting, mask or guide image differs. Give the same files, name another --output, "
                "or start anew with --resume false (of a Trainer: without ckpt_path)."
            )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of patches.

        Raises:
            AnnotationError: a mask leaves no room for a patch, or a keyframe is smaller than one.
        """
        ranks = {} if self.trainer is None else self.trainer.distributed_sampler_kwargs or {}
        sources = [read_source(keyframe, self.patch_size) for keyframe in self.keyframes]
        length = self.batches_per_epoch * self.batch_size * ranks.get("num_replicas", 1)
        patches = KeyframePatches(sources, length, self.patch_size)
        return ResumableLoader(
            patches,
            trainer=self.trainer,
            sampler=PatchDraws(patches, **ranks, seed=self.training_seed()),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            drop_last=True,
            generator=torch.Generator().manual_seed(0),  # of the workers' seeds, else from the global generator
        )

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The keyframes, and some other frames of the clip, whole."""
        pictures = _Pictures(self.keyframes, *self._previews())
        return make_loader(pictures, len(pictures), 1, False, 0, default_collate, self.trainer)

    def _previews(self) -> tuple[KeyframeClip | None, list[str], list[int]]:
        """The clip to show as the network gets it, the folders of its guide images, and the positions to show."""
        folder = clip_folder(training_folder(self.root))
        clip = KeyframeClip(folder / FILTERED) if self.prefilter and pictures_in(folder / FILTERED) else None
        if not self.prefilter:
            clip = self._clip()
        guides = [folder / name for name in self._guide_folders]
        if clip is None or any(tuple(pictures_in(guide)) != clip.names for guide in guides):
            return None, [], []
        known = {keyframe.name for keyframe in self.keyframes}
        spread = torch.linspace(0, len(clip) - 1, min(self.num_previews, len(clip))).round().int().tolist()
        return clip, [str(guide) for guide in guides], [at for at in spread if clip.names[at] not in known]


class _Pictures(Dataset[dict[str, Any]]):
    """Keyframes with their paintings, then frames of the clip."""

    def __init__(
        self, keyframes: Sequence[Keyframe], clip: KeyframeClip | None, guides: Sequence[str], positions: Sequence[int]
    ) -> None:
        self.keyframes, self.clip, self.guides, self.positions = keyframes, clip, guides, positions

    def __len__(self) -> int:
        return len(self.keyframes) + len(self.positions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < len(self.keyframes):
            keyframe = self.keyframes[index]
            pixels = read_pixels(keyframe.source, *keyframe.guides)
            return {"input": pixels, "target": read_painted(keyframe)[0], "id": keyframe.name}
        return self._frame(self.positions[index - len(self.keyframes)])

    def _frame(self, position: int) -> dict[str, Any]:
        assert self.clip is not None  # noqa: S101 - there are no positions without a clip
        name = self.clip.names[position]
        pixels: Tensor = self.clip.read([position])[0].float() / 127.5 - 1
        guides = [read_pixels(pictures_in(Path(guide))[name]) for guide in self.guides]
        return {"input": torch.cat([pixels, *guides]), "id": name}
