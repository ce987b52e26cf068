# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from staticdropout.datamodules.generated import write_generated
from staticdropout.errors import DatasetExistsError

SPEC: dict[str, Any] = {"version": 1, "size": 3, "seed": 0}


def fill(folder: Path) -> None:
    (folder / "things").mkdir()
    (folder / "things" / "0.txt").write_text("a thing")


def refuse(folder: Path) -> None:
    raise AssertionError(f"{folder} should not be written")


def generate(
    root: str | Path, write: Callable[[Path], None] = fill, *, overwrite: bool = False, **changed: Any
) -> Path:
    spec = {**SPEC, **changed}
    return write_generated(root, write, contents="things", spec_file="spec.json", spec=spec, overwrite=overwrite)


def tree(folder: Path) -> dict[str, str | None]:
    """All that is below a folder, with the text of files."""
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_the_folder_holds_what_was_written_and_its_parameters(tmp_path: Path) -> None:
    root = generate(str(tmp_path / "new" / "and newer" / "data"))
    assert root == tmp_path / "new" / "and newer" / "data"
    assert tree(root).keys() == {"things", "things/0.txt", "spec.json"}
    assert json.loads((root / "spec.json").read_text()) == SPEC
    assert list(root.parent.iterdir()) == [root]  # nothing is left beside it


def test_others_may_read_the_folder(tmp_path: Path) -> None:
    assert stat.S_IMODE(generate(tmp_path / "data").stat().st_mode) == 0o755


def test_the_folder_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        assert folder.parent == tmp_path  # on the same file system
        assert list(folder.iterdir()) == []
        assert not (tmp_path / "data").exists()
        fill(folder)

    assert (generate(tmp_path / "data", write) / "things/0.txt").is_file()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "things/0.txt" in tree(generate(tmp_path / "data"))


def test_nothing_is_written_where_the_same_is_there(tmp_path: Path) -> None:
    root = generate(tmp_path / "data")
    (root / "kept.txt").write_text("made from the things")
    before = tree(root)
    for overwrite in (False, True):
        assert generate(root, refuse, overwrite=overwrite) == root
    assert tree(root) == before


def test_other_parameters_are_named_and_nothing_else_is(tmp_path: Path) -> None:
    root = generate(tmp_path / "data")
    message = (
        r"data' holds things with other parameters \(size 3 instead of 4, colour None instead of red\)\..*overwrite"
    )
    with pytest.raises(DatasetExistsError, match=message):
        generate(root, refuse, size=4, colour="red")


def test_overwriting_replaces_the_whole_folder(tmp_path: Path) -> None:
    root = generate(tmp_path / "data")
    (root / "kept.txt").write_text("made from the old things")
    generate(root, lambda folder: (folder / "new.txt").touch(), overwrite=True, size=4)
    assert tree(root).keys() == {"new.txt", "spec.json"}
    assert json.loads((root / "spec.json").read_text())["size"] == 4


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [("thesis.tex", b"years of work"), ("spec.json", b"years of work"), ("spec.json", b"[1]"), ("spec.json", b"\xff")],
)
def test_a_folder_with_something_else_is_never_replaced(
    tmp_path: Path, name: str, content: bytes, overwrite: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetExistsError, match=r"is not a folder of generated things\. Choose another folder"):
        generate(tmp_path, refuse, overwrite=overwrite)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_place_of_the_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "data").write_text("years of work")
    with pytest.raises(DatasetExistsError, match="Choose another folder"):
        generate(tmp_path / "data", refuse, overwrite=overwrite)
    assert (tmp_path / "data").read_text() == "years of work"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(error):
        generate(tmp_path / "data", interrupted)
    assert list(tmp_path.iterdir()) == []
    generate(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(error):
        generate(tmp_path / "data", interrupted, overwrite=True, size=4)
    assert tree(tmp_path) == before


def test_the_same_written_meanwhile_by_another_process_stays(tmp_path: Path) -> None:
    def late(folder: Path) -> None:
        (generate(tmp_path / "data") / "of the other.txt").touch()
        fill(folder)

    generate(tmp_path / "data", late)
    assert "of the other.txt" in tree(tmp_path / "data")
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.parametrize("same", [True, False])
def test_a_move_that_fails_is_an_error_unless_another_process_wrote_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    def fail(folder: Path, target: Path) -> None:
        target.mkdir()
        (target / "spec.json").write_text(json.dumps(SPEC if same else {}))
        raise OSError("Directory not empty")

    monkeypatch.setattr(Path, "rename", fail)
    if same:
        generate(tmp_path / "data")
    else:
        with pytest.raises(OSError, match="not empty"):
            generate(tmp_path / "data")
    assert tree(tmp_path).keys() == {"data", "data/spec.json"}
