# SPDX-License-Identifier: Apache-2.0
"""A torchvision swin3d_t, batches as dataclasses with frames (B, T, H, W, C) in bytes: everything is guessed."""

from __future__ import annotations

from collections.abc import Sequence

from example_options import command_line, sizes_of, trainer_options
from lightning.pytorch import Trainer, seed_everything
from projects.swin3d import WindowedTransformer, loaders

from staticdropout.callbacks import BiasMonitor, StaticDropout


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as before, with two callbacks."""
    options = command_line(__doc__).parse_args(arguments)
    seed_everything(0)
    callbacks = [
        StaticDropout(rate=options.rate, every_n_steps=options.every_n_steps),
        BiasMonitor(layers=["net.patch_embed", "net.features.*", "net.norm"]),
    ]
    trainer = Trainer(callbacks=callbacks, **trainer_options(options))
    trainer.fit(WindowedTransformer(), *loaders(sizes_of(options)))
    return trainer


if __name__ == "__main__":
    main()
