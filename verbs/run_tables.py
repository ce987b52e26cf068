# SPDX-License-Identifier: Apache-2.0
"""Where runs keep their accuracies by class, and what to call two runs."""

from __future__ import annotations

from pathlib import Path

from ..errors import OptionError

__all__ = ("find_table", "run_names")

STAGES = ("val", "test")


def find_table(run: str | Path, *stages: str) -> Path:
    """The table of classes that a run has left.

    Args:
        run: a folder, which may hold it in a folder of its own, or the CSV itself.
        stages: ``"val"`` or ``"test"``; the first that is there.

    Raises:
        OptionError: if there is none, the message then names evaluations of the other stage; or if there are several.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "val_classes.csv").write_text("class,accuracy")
        >>> find_table(folder, "val").name
        'val_classes.csv'
    """
    folder = Path(run)
    if folder.is_file():
        return folder
    for stage in stages:
        found = sorted(folder.rglob(f"{stage}_classes.csv"))
        if len(found) > 1:
            some = ", ".join(str(path.parent) for path in found[:5]) + (" …" if len(found) > 5 else "")
            raise OptionError(f"{str(folder)!r} holds {len(found)} runs: {some}. Name one of them.")
        if found:
            return found[0]
    others = [stage for stage in STAGES if stage not in stages and any(folder.rglob(f"{stage}_classes.csv"))]
    hint = f"Take its {others[0]} clips: --stage {others[0]}." if others else (
        "ClassReport writes it in `fit`, `validate` and `test`; give a run's folder, or a CSV with the columns class, "
        "train_clips and accuracy."
    )  # fmt: skip
    wanted = " or ".join(f"{stage}_classes.csv" for stage in stages)
    trouble = f"it holds no {wanted}" if folder.is_dir() else "there is no such file or folder"
    raise OptionError(f"No run at {str(folder)!r}: {trouble}. {hint}")


def run_names(paths: tuple[Path, Path], runs: tuple[str, str]) -> tuple[str, str]:
    """Names for two runs: those of their folders, with the folders above where these are equal.

    Args:
        paths: the tables.
        runs: as they were given.

    Example:
        >>> run_names((Path("a/version_0/val_classes.csv"), Path("b/version_0/val_classes.csv")), ("a", "b"))
        ('a', 'b')
        >>> mine = (Path("a/version_0/val_classes.csv"), Path("b/version_0/val_classes.csv"))
        >>> run_names(mine, (str(mine[0]), str(mine[1])))
        ('a/version_0', 'b/version_0')
    """
    places = [_place(path, run) for path, run in zip(paths, runs, strict=True)]
    if places[0] == places[1]:  # two tables in one folder
        places = [path.resolve().with_suffix("") for path in paths]
    parts = [place.parts for place in places]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        first, second = ("/".join(one[-length:]) for one in parts)
        if first != second:
            break
    return first, second


def _place(path: Path, run: str) -> Path:
    """What a run is called by: the folder that was given or holds its table, or a table of another name itself."""
    if Path(run) != path:
        return Path(run).resolve()
    named = path.name in {f"{stage}_classes.csv" for stage in STAGES}
    return path.resolve().parent if named else path.resolve().with_suffix("")
