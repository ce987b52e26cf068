# SPDX-License-Identifier: Apache-2.0
"""A torchvision r3d_18 with batches (clip, label): everything is guessed."""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.moving_squares import Sizes
from projects.r3d import ActionRecognizer, loaders

from staticdropout.callbacks import BiasMonitor, StaticDropout


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__, Sizes(train=64, val=16, pixels=24), max_epochs=4).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(layers=["model.stem", "model.layer*"]),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(ActionRecognizer(), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
