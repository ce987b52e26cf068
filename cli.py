# SPDX-License-Identifier: Apache-2.0
"""The commands ``lightning`` and ``staticdropout``, which are the same."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonargparse
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Importing the rooms makes short class names legal in configs.
from . import __version__, callbacks, datamodules, lightning_modules  # noqa: F401
from .config_files import expand_config_arguments, find_config, load_config, packaged_configs
from .errors import ConfigNotFoundError, StaticDropoutError, UnknownNameError
from .lightning_modules import VideoClassifier
from .models.tables import print_layers, print_models

__all__ = ("main",)

LOOPS = ("fit", "validate", "test", "predict")
"""Subcommands of the Trainer."""


def list_models(pattern: str = "*") -> None:
    """List the models with parameters, multiply-adds and input.

    Args:
        pattern: a glob over names, e.g. "slow*".
    """
    print_models(pattern)


def list_layers(target: str, frames: int = 8, size: int = 112) -> None:
    """List the layers of a model with their output shapes, by the names that callbacks take.

    Args:
        target: a config (a file or the short name of a packaged one), or the name of a model.
        frames: frames of the clip that is sent through.
        size: its height and width in pixels.
    """
    try:
        config = load_config(find_config(target))
    except FileNotFoundError:
        if "/" in target or target.endswith(".yaml"):
            raise
        module: LightningModule = VideoClassifier(target)
    else:
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
        if "model" not in config:
            raise ConfigNotFoundError(
                f"{target} has no model. Give a config with a `model:` section, or a model's name."
            )
        module = parser.instantiate_classes(parser.parse_object({"model": config["model"]}))["model"]
    print_layers(module, frames, size)


def check_data(
    root: str, reader: str = "decord", min_frames: int = 8, workers: int | None = None, output: str | None = None
) -> None:
    """Check every video of a data set in the Something-Something v2 layout: missing, unreadable and short files.

    Exits with 1 if anything is wrong.

    Args:
        root: folder of the data set.
        reader: decord, torchcodec, pyav or frames.
        min_frames: a video with fewer frames is short.
        workers: number of processes; by default one a core.
        output: CSV file for all findings.
    """
    problems = datamodules.run_check(root, reader=reader, min_frames=min_frames, num_workers=workers, output=output)
    if problems:
        raise SystemExit(1)


def style_sheet(
    video: str, output: str = "styles.png", styles: list[str] | None = None, frames: int = 6, reader: str = "decord"
) -> None:
    """Write a contact sheet of a video in every style, as PNG.

    Args:
        video: path of the video.
        output: path of the PNG.
        styles: names of styles; all by default.
        frames: frames to show.
        reader: decord, torchcodec or pyav.
    """
    import numpy as np
    import torch

    from .perturbations import list_styles, save_sheet

    source = datamodules.open_video(video, reader=reader, short_side=240)
    indices = np.linspace(0, len(source) - 1, frames).round().astype(int).tolist()
    clip = torch.from_numpy(source.get_batch(indices)).permute(3, 0, 1, 2).float() / 255
    path = save_sheet(clip, Path(output), styles or list_styles(), num_frames=frames)
    print(f"Wrote {path}.")


NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # raised inside lightning 2.6 with torch 2.15
    r"You have overridden `on_after_batch_transfer` in `LightningModule`",  # as it is meant to be, see VideoClassifier
)
"""Warnings that tell a user of these commands nothing."""

VERBS: dict[str, dict[str, Any]] = {
    "data": {"check": check_data},
    "models": {"layers": list_layers, "list": list_models},
    "styles": {"sheet": style_sheet},
}
"""The grouped verbs: ``staticdropout models list`` and so on."""


class ConfigCLI(LightningCLI):
    """A LightningCLI in which the config alone says what the model is."""

    def _parse_ckpt_path(self) -> None:
        """Do not let the arguments saved in a checkpoint replace those of the config and the command line."""


def _epilog() -> str:
    verbs = ", ".join(f"{group} {verb}" for group, members in VERBS.items() for verb in members)
    configs = ", ".join(packaged_configs())
    return f"further commands: {verbs} (each with --help). packaged configs for --config: {configs}."


@contextmanager
def _program_arguments(arguments: Sequence[str]) -> Iterator[None]:
    saved, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        yield
    finally:
        sys.argv = saved


def _hand_on(arguments: Sequence[str]) -> bool:
    """Give subcommands that are not ours to the ``lightning`` command of another distribution, as lightning_sdk's."""
    for entry in entry_points(group="console_scripts", name="lightning"):
        if entry.dist is not None and entry.dist.name.lower().replace("_", "-") != "staticdropout":
            with _program_arguments(arguments):
                entry.load()()
            return True
    return False


def run(arguments: Sequence[str]) -> Any:
    """Run a command and let errors through; returns the LightningCLI of a Trainer subcommand."""
    command = arguments[0] if arguments else ""
    if command in VERBS:
        return jsonargparse.auto_cli(VERBS[command], args=list(arguments[1:]), prog=f"staticdropout {command}")
    if command and not command.startswith("-") and command not in LOOPS:
        if _hand_on(arguments):
            return None
        raise UnknownNameError("command", command, [*LOOPS, *VERBS])
    for noise in NOISE:
        warnings.filterwarnings("ignore", message=noise)
    # Handed over through sys.argv: processes that a DDP launcher starts read it there.
    with _program_arguments(expand_config_arguments(arguments)):
        return ConfigCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            parser_kwargs={"version": f"staticdropout {__version__}", "epilog": _epilog()},
        )


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the commands.

    Args:
        args: the command line without the program's name; that of the process by default.

    Raises:
        SystemExit: with a message, for errors that a user can mend.

    Example:
        >>> main(["models", "list", "--pattern", "fast*"])  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
        ┏...fastonly_r50...
    """
    try:
        run(sys.argv[1:] if args is None else args)
    except Exception as error:
        # The parser wraps what a constructor raised into errors of its own; the sentence for the user is inside.
        known = _sentence(error)
        if known is None:
            raise
        raise SystemExit(f"error: {known}") from error


def _sentence(error: BaseException | None) -> BaseException | None:
    """The error made for a user in a chain of errors, if there is one."""
    while error is not None and not isinstance(error, StaticDropoutError | MisconfigurationException):
        error = error.__cause__ or error.__context__
    return error


if __name__ == "__main__":
    main()
