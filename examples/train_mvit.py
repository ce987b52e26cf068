# SPDX-License-Identifier: Apache-2.0
"""A torchvision mvit_v2_s without forward(), clips normalised as for Kinetics.

Told: mean and std, for the styles of BiasMonitor; and ``[0]``, because a block returns its tokens and their grid.
"""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.moving_squares import Sizes
from projects.mvit import MEAN, STD, Transformer, loaders

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__, Sizes(train=48, val=16)).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(
            layers=["model.blocks.0[0]", "model.blocks.7[0]", "model.blocks.15[0]", "model.norm"],
            inputs=VideoInputs(mean=MEAN, std=STD),
        ),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(Transformer(size=options.pixels), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
