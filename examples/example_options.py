# SPDX-License-Identifier: Apache-2.0
"""The command line that all examples share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from projects.moving_squares import Sizes


def command_line(description: str | None, sizes: Sizes = Sizes(), max_epochs: int = 3) -> argparse.ArgumentParser:  # noqa: B008 - a tuple
    """Options of an example, with its defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rate", type=float, default=0.3, help="share of channels that StaticDropout drops")
    parser.add_argument("--every_n_steps", type=int, default=10, help="steps between two estimates of static scores")
    parser.add_argument("--max_epochs", type=int, default=max_epochs, help="of training")
    parser.add_argument("--accelerator", default="auto", help="cpu, gpu …, as Lightning names them")
    parser.add_argument("--devices", default="auto", help="how many")
    parser.add_argument("--train_clips", type=int, default=sizes.train, help="clips to train on")
    parser.add_argument("--val_clips", type=int, default=sizes.val, help="clips to validate on and to measure")
    parser.add_argument("--batch_size", type=int, default=sizes.batch, help="clips in a batch")
    parser.add_argument("--pixels", type=int, default=sizes.pixels, help="along a side of a clip")
    parser.add_argument("--default_root_dir", type=Path, default=Path("runs/examples"), help="where logs go")
    return parser


def sizes_of(options: argparse.Namespace) -> Sizes:
    """How much data the options ask for."""
    return Sizes(options.train_clips, options.val_clips, options.batch_size, options.pixels)


def trainer_options(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say to the Trainer."""
    names = ("max_epochs", "accelerator", "devices", "default_root_dir")
    return {name: getattr(options, name) for name in names} | {"log_every_n_steps": 1, "enable_checkpointing": False}
