# SPDX-License-Identifier: Apache-2.0
"""A timm ResNet on every frame, averaged over time or read by a GRU; clips (B, T, C, H, W), normalised as ImageNet.

Told: mean and std, for the styles of BiasMonitor. Layers that see frames count with their mean over the clip.
"""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.frame_models import MEAN, STD, FrameClassifier, loaders
from projects.moving_squares import Sizes

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    parser = command_line(__doc__, Sizes(train=128), max_epochs=4)
    parser.add_argument("--head", choices=["mean", "gru"], default="gru", help="what puts the frames together")
    options = parser.parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(layers=["model.backbone.layer*", "model.fc[input]"], inputs=VideoInputs(mean=MEAN, std=STD)),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(FrameClassifier(options.head), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
