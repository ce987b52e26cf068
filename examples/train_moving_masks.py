# SPDX-License-Identifier: Apache-2.0
"""A model that segments what moves from two frames, given as two arguments.

Told: how to make triplets of frame pairs, and where and on what StaticDropout works: there is no classifier, and no
video in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.moving_masks import MotionSegmenter, loaders
from projects.moving_squares import Sizes
from torch import Tensor

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs
from staticdropout.perturbations import Triplet, VideoTriplets

video_triplets = VideoTriplets()


def both_frames(batch: dict[str, Any]) -> Tensor:
    """The two frames as a clip (B, C, 2, H, W)."""
    return torch.stack([batch["frame"], batch["next_frame"]], dim=2)


def pair_triplet(batch: dict[str, Any]) -> Triplet:
    """The pair in one style, the same with its frames swapped, and the pair in another style."""
    clips = video_triplets(both_frames(batch), batch["name"])
    return Triplet(*(tuple(clip.unbind(2)) for clip in clips))


def segment(module: Any, clip: Tensor, batch: dict[str, Any]) -> Tensor:
    """Call the model with such a clip."""
    mask: Tensor = module.model(*clip.unbind(2))
    return mask


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__, Sizes(train=128), max_epochs=6).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(
            rate=options.rate,
            every_n_steps=options.every_n_steps,
            layer="model.compare",
            inputs=VideoInputs(video=both_frames, forward=segment),
        ),
        BiasMonitor(layers=["model.stem", "model.compare.*"], triplets=pair_triplet),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(MotionSegmenter(), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
