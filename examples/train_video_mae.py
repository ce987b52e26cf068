# SPDX-License-Identifier: Apache-2.0
"""A model in the style of Hugging Face: pixel_values (B, T, C, H, W) by keyword, an output object with logits.

Told: mean and std, for the styles of BiasMonitor.
"""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.moving_squares import Sizes
from projects.video_mae import MEAN, STD, HuggingFaceProject, loaders

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout, VideoInputs


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__, Sizes(train=128), max_epochs=8).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(layers=["model.encoder.layer.*"], inputs=VideoInputs(mean=MEAN, std=STD)),
        ShuffledValidation(),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(HuggingFaceProject(size=options.pixels), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
