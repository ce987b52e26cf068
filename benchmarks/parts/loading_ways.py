# SPDX-License-Identifier: Apache-2.0
"""Two ways to clips of 8 frames at 112x112: the data module's, and reading every frame first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from staticdropout.datamodules import Entry, SSv2DataModule, TrainTransform, VideoCollate, sample_clips
from staticdropout.datamodules.sampling import Sampling

FRAMES, SIZE, SHORT_SIDE, BATCH = 8, 112, (128, 160), 8


def every_frame(path: Path, reader: str) -> Tensor:
    """All frames of a video, uint8 (T, 3, H, W), as one reads them with the library alone, in one thread."""
    if reader == "decord":
        video = importlib.import_module("decord").VideoReader(str(path), num_threads=1)
        frames = video.get_batch(range(len(video))).asnumpy()
    elif reader == "pyav":
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "NONE"
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    elif reader == "torchcodec":
        decoders = importlib.import_module("torchcodec.decoders")
        decoded: Tensor = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1)[:]
        return decoded
    else:
        frames = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.iterdir())])
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


class EveryFrame(Dataset[dict[str, Any]]):
    """The plain way: read all frames, take eight of them, transform those."""

    def __init__(self, entries: Sequence[Entry], reader: str) -> None:
        self.entries, self.reader = entries, reader
        self.transform = TrainTransform(SIZE, SHORT_SIDE)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self.entries[index]
        frames = every_frame(entry.path, self.reader)
        indices = sample_clips(len(frames), FRAMES, training=True)[0]
        return {"video": self.transform(frames[indices]), "label": entry.label, "id": entry.id}


def data_module(root: Path, reader: str, workers: int, sampling: Sampling = "segment") -> SSv2DataModule:
    """The training data as a user has them."""
    data = SSv2DataModule(
        str(root),
        FRAMES,
        sampling,
        crop_size=SIZE,
        short_side=SHORT_SIDE,
        reader=reader,
        batch_size=BATCH,
        num_workers=workers,
    )
    data.setup("fit")
    return data


def plain_loader(data: SSv2DataModule, workers: int) -> DataLoader[dict[str, Any]]:
    """A loader that reads every frame of the same videos."""
    dataset = EveryFrame(data.train_dataloader().dataset.entries, data.reader)  # type: ignore[attr-defined]
    collate = VideoCollate((3, FRAMES, SIZE, SIZE))
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "collate_fn": collate}
    return DataLoader(dataset, BATCH, shuffle=True, drop_last=True, **options)


def epoch(loader: DataLoader[dict[str, Any]]) -> Callable[[], int]:
    """A call that takes all batches of a loader and counts the clips; it starts workers the first time only."""
    return lambda: sum(len(batch["label"]) for batch in loader)
