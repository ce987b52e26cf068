# SPDX-License-Identifier: Apache-2.0
"""Two pathways, batches ([slow, fast], label): the fast one is perturbed, the slow one made from it as in the batch.

Told: mean and std, for the styles of BiasMonitor.
"""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.moving_squares import Sizes
from projects.slowfast import MEAN, STD, SlowFastClassifier, loaders

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__, Sizes(train=128), max_epochs=8).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(layers=["model.slow*", "model.fast*"], inputs=VideoInputs(mean=[MEAN], std=[STD])),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(SlowFastClassifier(), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
