# SPDX-License-Identifier: Apache-2.0
"""Few-shot training with a known answer: a built-in style, learned from one frame, against that style on the others.

One frame of a real clip is passed through a built-in style and becomes the painted keyframe of
``staticdropout.datamodules.KeyframeDataModule``; ``FewShotStylizer`` is trained on it for a given time, its checkpoint
is loaded as a style by its path, and paints the clip. On all frames but the keyframe:

- ``l1_source``, ``l1_network``: mean absolute difference to the true style in grey levels of 255, of the source and of
  what the network paints; ``l1_ratio`` is the quotient, at most 0.5 where the training has worked;
- ``flicker_ratio``: mean absolute difference of successive frames, network over true style, at most 1.5; ``jitter``:
  the same of what the network adds (painted minus true), over the true style's;
- ``l1_keyframe``: the difference on the keyframe itself;
- ``holds``: whether both bounds are kept.

The perceptual loss is off unless ``--perceptual`` gives weights. Ends with status 1 if a bound is not kept.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from parts.common import RESULTS, HelpFormatter, environment, report
from parts.options import add_device
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, resize

from staticdropout.datamodules import open_video
from staticdropout.datamodules.keyframes import KeyframeDataModule
from staticdropout.lightning_modules.few_shot_stylizer import FewShotStylizer
from staticdropout.perturbations.styles import get_style
from staticdropout.visualization.overlays import overlay_sheet

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CLIPS = ("hmdb_golf_Davis_Love_III.mp4", "flipping_a_pancake.mkv")
STYLES = ("paint", "chalk", "neon", "relief")
L1_AT_MOST, FLICKER_AT_MOST = 0.5, 1.5


def read_clip(path: Path, frames: int, size: int, step: int) -> Tensor:
    """Frames from the middle of a video, resized and cropped to a square: (3, T, size, size) in [0, 1]."""
    video = open_video(path)
    first = max(0, len(video) // 2 - frames * step // 2)
    positions = [at for at in range(first, first + frames * step, step) if at < len(video)]
    pixels = torch.from_numpy(video.get_batch(positions)).permute(0, 3, 1, 2).float() / 255
    square: Tensor = center_crop(resize(pixels, [size], antialias=True), [size, size]).clamp(0, 1)
    return square.transpose(0, 1).contiguous()


def save_keyframe(folder: Path, source: Tensor, painted: Tensor) -> None:
    """Write a keyframe (3, H, W) and its twin in the layout of the official code."""
    for name, picture in {"input": source, "output": painted}.items():
        (folder / name).mkdir(parents=True)
        Image.fromarray(pixels_of(picture)).save(folder / name / "000.png")


def pixels_of(picture: Tensor) -> np.ndarray:
    """A picture (3, H, W) in [0, 1] as (H, W, 3) uint8."""
    pixels: np.ndarray = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels


def trained(folder: Path, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """Train on a keyframe; returns the checkpoint, with steps and seconds."""
    seed_everything(options.seed, verbose=False)
    data = KeyframeDataModule(str(folder / "clip_train"), batch_size=options.batch_size, batches_per_epoch=100)
    module = FewShotStylizer(
        options.perceptual, learning_rate=options.learning_rate, blocks=options.blocks, filters=options.filters
    )
    trainer = Trainer(
        accelerator="gpu" if options.device.startswith("cuda") else "cpu",
        devices=[int(options.device.partition(":")[2])] if options.device.startswith("cuda") else 1,
        max_steps=options.steps if options.steps else -1,
        max_time=None if options.steps else {"seconds": round(60 * options.minutes)},
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    start = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = time.perf_counter() - start
    trainer.save_checkpoint(folder / "style.ckpt", weights_only=False)
    return folder / "style.ckpt", {"steps": trainer.global_step, "seconds": round(seconds)}


def scores(clip: Tensor, true: Tensor, painted: Tensor, keyframe: int) -> dict[str, Any]:
    """How near the painted clip is to the true one; all (3, T, H, W) in [0, 1]."""
    others = [at for at in range(clip.shape[1]) if at != keyframe]

    def l1(one: Tensor, other: Tensor) -> float:
        return 255 * float((one - other).abs().mean())

    def flicker(frames: Tensor) -> float:
        return float(frames.diff(dim=1).abs().mean())

    source, network = l1(clip[:, others], true[:, others]), l1(painted[:, others], true[:, others])
    found = {
        "l1_source": round(source, 2),
        "l1_network": round(network, 2),
        "l1_ratio": round(network / source, 3),
        "flicker_ratio": round(flicker(painted) / flicker(true), 3),
        "jitter": round(flicker(painted - true) / flicker(true), 3),
        "l1_keyframe": round(l1(painted[:, keyframe], true[:, keyframe]), 2),
    }
    return found | {"holds": found["l1_ratio"] <= L1_AT_MOST and found["flicker_ratio"] <= FLICKER_AT_MOST}


def save_sheet(path: Path, clip: Tensor, true: Tensor, painted: Tensor, keyframe: int) -> None:
    """A row a frame: source, true style, network; the keyframe first."""
    spread = torch.linspace(0, clip.shape[1] - 1, 5).round().int().tolist()
    rows = [[pixels_of(video[:, at]) for video in (clip, true, painted)] for at in [keyframe, *spread]]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(overlay_sheet(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--clips", nargs="+", default=list(CLIPS), help="files of the test clips")
    parser.add_argument("--styles", nargs="+", default=list(STYLES), help="built-in styles to learn")
    parser.add_argument("--minutes", type=float, default=5.0, help="time of each training")
    parser.add_argument("--steps", type=int, default=0, help="batches of each training, instead of --minutes")
    parser.add_argument("--batch-size", type=int, default=8, help="patches in a batch; 40 in the paper")
    parser.add_argument("--learning-rate", type=float, default=4e-4, help="of both networks")
    parser.add_argument("--blocks", type=int, default=7, help="residual blocks of the generator")
    filters = [32, 64, 128, 128, 128, 64]
    parser.add_argument("--filters", nargs=6, type=int, default=filters, help="channels of the generator")
    parser.add_argument("--perceptual", help="weights of VGG19; none: no perceptual loss")
    parser.add_argument("--size", type=int, default=128, help="of the frames in pixels")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip; the keyframe is the middle one")
    parser.add_argument("--every", type=int, default=2, help="take every n-th frame of the video")
    parser.add_argument("--seed", type=int, default=0, help="of weights and patches")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as it is")
    parser.add_argument("--sheets", type=Path, help="folder for a picture of each result")
    parser.add_argument("--output", type=Path, default=RESULTS / "few_shot.csv", help="the CSV")
    add_device(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for noise in (".*does not have many workers", ".*treespec"):
        warnings.filterwarnings("ignore", message=noise)
    rows = []
    for name in options.clips:
        clip = read_clip(DATA / "clips" / name, options.frames, options.size, options.every)
        keyframe = clip.shape[1] // 2
        for style in options.styles:
            true = get_style(style)(clip[None])[0]
            with tempfile.TemporaryDirectory() as folder:
                save_keyframe(Path(folder, "clip_train"), clip[:, keyframe], true[:, keyframe])
                checkpoint, effort = trained(Path(folder), options)
                painted = get_style(str(checkpoint))(clip[None].to(options.device))[0].cpu()
            row = {"clip": Path(name).stem, "style": style, **effort, **scores(clip, true, painted, keyframe)}
            rows.append(row)
            print(row, flush=True)
            if options.sheets:
                save_sheet(options.sheets / f"{row['clip']}_{style}.png", clip, true, painted, keyframe)
    about = environment(
        options.device,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        blocks=options.blocks,
        filters=" ".join(map(str, options.filters)),
        perceptual="on" if options.perceptual else "off",
        size=options.size,
        frames=options.frames,
        every=options.every,
        seed=options.seed,
        precision="float32",
    )
    report(rows, about, options.output)
    if not all(row["holds"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
