# SPDX-License-Identifier: Apache-2.0
"""Config files: packaged ones by short name, and files that extend others.

A config may name others to build on::

    extends: [parts/recipe.yaml, parts/slowonly_r50.yaml]
    trainer:
      callbacks+:
        - class_path: StaticDropout

The files are merged in this order: mappings are merged key by key, anything else is replaced, and a key with a ``+``
at its end appends to the list that is there. The paths under ``extends`` are relative to the file that names them; all
others, as usual, to the working directory. ``extends`` and ``+`` belong to these commands: a LightningCLI of your own
reads what ``--print_config`` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigNotFoundError, did_you_mean

__all__ = ("expand_config_arguments", "find_config", "load_config", "packaged_configs")

FOLDER = Path(__file__).parent / "configs"


def packaged_configs() -> list[str]:
    """Short names of the configs that come with the package (parts that others extend are left out).

    Example:
        >>> "demo" in packaged_configs()
        True
    """
    names = (path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
    return sorted(name for name in names if "parts" not in name.split("/"))


def find_config(name: str) -> Path:
    """Find a config by path, or a packaged one by short name (``"ssv2/slowonly_r50_staticdropout"``).

    Raises:
        ConfigNotFoundError: if there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    short = name.removeprefix("configs/").removesuffix(".yaml")
    packaged = FOLDER / f"{short}.yaml"
    if packaged.is_file():
        return packaged
    raise ConfigNotFoundError(
        f"--config {name}: no such file, and no packaged config of this name. {did_you_mean(short, packaged_configs())}"
    )


def load_config(path: Path) -> dict[str, Any]:
    """Read a config with everything it extends.

    Raises:
        ConfigNotFoundError: if a file it extends does not exist.
        ValueError: if a file is not a mapping, or extends itself.
    """
    return _load(path, ())


def _load(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise ValueError(f"{path} extends itself, by way of {above[-1]}.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of options, found {type(content).__name__}.")
    bases = content.pop("extends", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        if not (path.parent / base).is_file():
            raise ConfigNotFoundError(f"{path} extends {base}, but {path.parent / base} does not exist.")
        merged = _merge(merged, _load(path.parent / base, (*above, path.resolve())))
    return _merge(merged, content)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one config over another.

    Example:
        >>> _merge({"a": {"b": 1, "list": [1]}}, {"a": {"c": 2, "list+": [2]}})
        {'a': {'b': 1, 'list': [1, 2], 'c': 2}}
    """
    merged = dict(below)
    for key, value in above.items():
        if key.endswith("+"):
            merged[key[:-1]] = [*merged.get(key[:-1], []), *value]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict) and not _other_class(merged[key], value):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _other_class(below: dict[str, Any], above: dict[str, Any]) -> bool:
    """Whether both name a class, and not the same: the arguments of one mean nothing to the other."""
    return "class_path" in above and above["class_path"] != below.get("class_path", above["class_path"])


def expand_config_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace every ``--config NAME`` of a command line by the config it means.

    Example:
        >>> expand_config_arguments(["fit", "--trainer.max_epochs=1"])
        ['fit', '--trainer.max_epochs=1']
    """
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, separator, value = argument.partition("=")
        if option not in ("--config", "-c"):
            expanded.append(argument)
            continue
        if not separator:
            value = next(rest, "")
        if not value or "\n" in value:  # nothing, which the parser reports, or a config as text
            expanded += ["--config", value] if value else ["--config"]
            continue
        expanded += ["--config", yaml.safe_dump(load_config(find_config(value)), sort_keys=False)]
    return expanded
