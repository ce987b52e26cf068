# SPDX-License-Identifier: Apache-2.0
"""The commands ``lightning`` and ``staticdropout``, which are the same."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import jsonargparse
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

# Importing the rooms makes short class names legal in configs.
from . import __version__, callbacks, datamodules, lightning_modules  # noqa: F401
from .config_files import expand_config_arguments, packaged_configs
from .errors import StaticDropoutError, UnknownNameError
from .verbs import VERBS

__all__ = ("main",)

LOOPS = ("fit", "validate", "test", "predict")
"""Subcommands of the Trainer."""


NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # raised inside lightning 2.6 with torch 2.15
    r"Couldn't infer the batch indices",  # of an IterableDataset, which has none
    r"You have overridden `on_after_batch_transfer` in `LightningModule`",  # as it is meant to be, see VideoClassifier
)
"""Warnings that tell a user of these commands nothing."""


class ConfigCLI(LightningCLI):
    """A LightningCLI in which the config alone says what the model is."""

    def _parse_ckpt_path(self) -> None:
        """Do not let the arguments saved in a checkpoint replace those of the config and the command line."""


def _epilog() -> str:
    commands = [
        command
        for group, members in VERBS.items()
        for command in ([f"{group} {verb}" for verb in members] if isinstance(members, dict) else [group])
    ]
    verbs = ", ".join(commands)
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
        arguments = sys.argv[1:] if args is None else args
        raise SystemExit(f"error: {_in_words_of(arguments[:1], str(known))}") from error


_IN_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\n.*\n(?:[\w.]+\.)?\1: ", re.DOTALL)
_TRAINERS = re.compile(r"--(?:data|model)\.(?=\w)")


def _in_words_of(command: Sequence[str], message: str) -> str:
    """A message without the traceback of a worker process, and with the options of the command that was given.

    Example:
        >>> _in_words_of(["data"], "Set --data.reader pyav.")
        'Set --reader pyav.'
    """
    message = _IN_WORKER.sub("", message).rstrip()
    return _TRAINERS.sub("--", message) if command and command[0] in VERBS else message


def _sentence(error: BaseException | None) -> BaseException | None:
    """The error made for a user in a chain of errors, if there is one."""
    while error is not None and not isinstance(error, StaticDropoutError | MisconfigurationException):
        error = error.__cause__ or error.__context__
    return error


if __name__ == "__main__":
    main()
