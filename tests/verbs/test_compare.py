# SPDX-License-Identifier: Apache-2.0
"""``staticdropout compare``: what two runs have left is found, compared, printed and written."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest
from class_ranks import Counting
from PIL import Image
from torch.utils.data import DataLoader
from toys import Clips, make_trainer

import staticdropout
from staticdropout.callbacks import ClassReport
from staticdropout.errors import AnnotationError, OptionError
from staticdropout.metrics import class_table_csv
from staticdropout.verbs.compare import compare
from staticdropout.verbs.run_tables import run_names

COUNT = 24


def leave(folder: Path, gain: int = 0, stage: str = "val", train_clips: Sequence[int] | None = None) -> Path:
    """A run: class c has c + 1 training clips and 10 evaluated ones; ``gain`` more are right in the rarer half."""
    known = list(range(1, COUNT + 1)) if train_clips is None else list(train_clips)
    counts = [(4 + (gain if known[index] <= COUNT // 2 else -1 if gain else 0), 10) for index in range(COUNT)]
    names = [f"Putting [something] {index:02d}" for index in range(COUNT)]
    about = {"model": "resnet3d_r18", "stage": stage, "epoch": 4, "step": 50, "checkpoint": ""}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}_classes.csv").write_text(class_table_csv(names, known or None, counts, about))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return str(leave(tmp_path / "static" / "version_0", gain=3)), str(leave(tmp_path / "plain" / "version_0"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_difference_on_rare_and_common_classes_is_printed_and_written(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    compare(*pair)
    for row in rows("comparison/by_frequency.csv"):
        assert (float(row["least"]), float(row["most"]), float(row["contrast"])) == (30, -10, 40)
        assert (row["run_a"], row["run_b"]) == ("static/version_0", "plain/version_0")
    assert [int(row["k"]) for row in rows("comparison/by_frequency.csv")] == [5, 10]
    by_class = rows("comparison/by_class.csv")
    assert len(by_class) == COUNT
    assert [float(row["difference"]) for row in by_class] == [30.0] * 12 + [-10.0] * 12
    assert [int(row["train_clips"]) for row in by_class] == list(range(1, COUNT + 1))
    for name in ("difference.png", "frequency.png"):
        assert Image.open(Path("comparison", name)).size[0] == 700
    text = capsys.readouterr().out
    assert "A  static/version_0: resnet3d_r18, val, epoch 4, step 50" in text
    assert re.search(r"top-1 +50\.0 +40\.0 +\+10\.0 ±", text)
    assert re.search(r"^ 5 +\+30\.0 ± 5\.[56] +≤ 5 +-10\.0 ± .*≥ 20 +\+40\.0", text, re.MULTILINE)
    assert "Putting [something] 00" in text
    assert "Wrote by_class.csv, by_frequency.csv, difference.png, frequency.png to comparison." in text


def test_exchanging_the_runs_changes_the_sign(pair: tuple[str, str]) -> None:
    compare(*pair, output="there")
    compare(*pair[::-1], output="back")
    for there, back in zip(rows("there/by_frequency.csv"), rows("back/by_frequency.csv"), strict=True):
        assert float(there["least"]) == -float(back["least"])
        assert there["least_interval"] == back["least_interval"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--k", "[2,4]", "--labels", '["ours, new","baseline"]', "--output", "elsewhere/deep", "--most", "0"],
        ["--k=[4,2,4]", "--labels+=ours, new", "--labels+=baseline", "--output=elsewhere/deep", "--most=0"],
    ],
)
def test_the_command_line_has_two_positions_and_options(
    pair: tuple[str, str], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    jsonargparse.auto_cli(compare, args=[*pair, *arguments], prog="staticdropout compare")
    found = rows("elsewhere/deep/by_frequency.csv")
    assert [(row["k"], row["run_a"]) for row in found] == [("2", "ours, new"), ("4", "ours, new")]
    assert "gains most" not in capsys.readouterr().out


def test_the_help_tells_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        jsonargparse.auto_cli(compare, args=["--help"], prog="staticdropout compare")
    text = " ".join(capsys.readouterr().out.split())
    for part in ("run_a run_b", "folder of a run, where ClassReport", "--frequencies", "--stage {val,test}"):
        assert part in text


def test_runs_of_a_trainer_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("one", "two")):
        module = Counting()
        for weights in module.parameters():
            weights.data += 0.1 * seed
        trainer = make_trainer(tmp_path / name, [ClassReport()])
        trainer.validate(module, DataLoader(Clips(22), 8), verbose=False)
    compare("one", "two")
    text = capsys.readouterr().out
    assert "Neither run knows how many training clips the classes have" in text
    assert sorted(path.name for path in Path("comparison").iterdir()) == ["by_class.csv"]
    assert [row["train_clips"] for row in rows("comparison/by_class.csv")] == [""] * 4


def test_a_users_own_tables_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.csv").write_text("class,train_clips,accuracy\na,9,50\nb,1,20\nc,5,70\nd,2,\n")
    (tmp_path / "yours.csv").write_text("accuracy,class\n10,b\n60,a\n70,c\n5,d\n")
    compare("mine.csv", "yours.csv")
    text = capsys.readouterr().out
    assert "A  mine\n" in text
    assert "1 of 4 classes have no evaluated clips and are left out." in text
    assert "Training clips as the first run counts them." in text
    (row,) = rows("comparison/by_frequency.csv")
    assert (row["k"], row["least"], row["most"], row["least_interval"]) == ("1", "10", "-10", "")


def test_classes_of_unknown_frequency_are_compared_and_stand_in_no_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, gain in (("a", 10), ("b", 0)):
        lines = [f"c{index:02d},{'' if index < 3 else index},{20 + gain * (index >= 3)}" for index in range(12)]
        Path(name + ".csv").write_text("\n".join(["class,train_clips,accuracy", *lines]))
    compare("a.csv", "b.csv")
    text = capsys.readouterr().out
    assert "3 classes without a known number of training clips are not ranked." in text
    assert re.search(r"3 to 11 +9 +30\.0 +20\.0 +\+10\.0 ± 0\.0", text)  # the others do not differ
    assert [row["least"] for row in rows("comparison/by_frequency.csv")] == ["10"] * 4
    assert Path("comparison/frequency.png").exists()


def test_frequencies_come_from_elsewhere_where_the_runs_do_not_agree(pair: tuple[str, str], tmp_path: Path) -> None:
    other = leave(tmp_path / "balanced", train_clips=[7] * COUNT)
    with pytest.raises(OptionError, match="--frequencies RUN"):
        compare(pair[0], str(other))
    with pytest.raises(OptionError, match="--frequencies RUN"):
        compare(str(other), pair[0])
    compare(pair[0], str(other), frequencies=pair[1])
    assert len(rows("comparison/by_frequency.csv")) == 2
    listed = "class,train_clips\n" + "".join(
        f"Putting [something] {index:02d},{99 - index}\n" for index in range(COUNT)
    )
    (tmp_path / "mine.csv").write_text(listed)
    compare(pair[0], str(other), frequencies="mine.csv", output="reversed")
    assert float(rows("reversed/by_frequency.csv")[0]["most"]) == 30


def test_where_no_class_is_rare_nothing_is_said_about_rare_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (leave(tmp_path / name, gain, train_clips=[7] * COUNT) for name, gain in (("a", 2), ("b", 0)))
    compare(str(first), str(second), k=[3])
    text = capsys.readouterr().out
    assert "All classes have the same number of training clips: none is rare." in text
    assert "least common" not in text
    assert not Path("comparison/difference.png").exists()


def test_the_stage_chooses_the_file(pair: tuple[str, str]) -> None:
    for run in pair:
        leave(Path(run), gain=2 if "static" in run else 0, stage="test")
    compare(*pair, stage="test")
    assert float(rows("comparison/by_frequency.csv")[0]["least"]) == 20
    with pytest.raises(OptionError, match="evaluated test clips and the other val clips"):
        compare(f"{pair[0]}/test_classes.csv", f"{pair[1]}/val_classes.csv")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere", "plain"], OptionError, "No run at 'nowhere': there is no such file or folder"),
        (["empty", "plain"], OptionError, "it holds no val_classes.csv. ClassReport writes it in"),
        (["plain", "tested"], OptionError, "Take its test clips: --stage test"),
        ([".", "plain"], OptionError, r"holds 2 runs: plain/version_0, static/version_0. Name one of them"),
        (["plain", "plain/version_0/val_classes.csv"], OptionError, "Both runs are .* Name two different ones"),
        (["plain", "other.csv"], AnnotationError, "found the columns step, loss"),
        (["plain", "fewer.csv"], AnnotationError, "different classes: 25 are in one alone"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    pair: tuple[str, str], tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "fewer.csv").write_text("class,accuracy\npush,20\n")
    leave(tmp_path / "tested", stage="test")
    with pytest.raises(error, match=message):
        compare(arguments[0], arguments[1])
    assert not Path("comparison").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["one"]}, "must be two different names"),
        ({"labels": ["same", "same"]}, "must be two different names"),
        ({"output": "static/version_0/val_classes.csv"}, "cannot be written to output="),
        ({"k": [25]}, "between 1 and the number of classes to compare, 24"),
        ({"k": [0, 5]}, "k=0 must be between 1"),
    ],
)
def test_options_out_of_range_are_refused(pair: tuple[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compare(*pair, **options)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("logs/a/val_classes.csv", "logs/b/val_classes.csv"), ("a", "b")),
        (("a/version_0/val_classes.csv", "b/version_0/val_classes.csv"), ("a/version_0", "b/version_0")),
        (("mine.csv", "yours.csv"), ("mine", "yours")),
        (("r0.3.csv", "r0.5.csv"), ("r0.3", "r0.5")),
        (("a/val_classes.csv", "a/test_classes.csv"), ("val_classes", "test_classes")),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(paths: tuple[str, str], expected: tuple[str, str]) -> None:
    first, second = map(Path, paths)
    assert run_names((first, second), paths) == expected


def test_the_page_about_it_runs_as_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(staticdropout.__file__).parent / "docs/compare.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"staticdropout compare (staticdropout\.csv .*)", page)
    exec(script, {"__name__": "page"})  # noqa: S102 - our own page
    jsonargparse.auto_cli(compare, args=shlex.split(command))
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert all(line.split() in printed for line in shown.splitlines() if "±" in line)
    assert np.isfinite([float(row["least"]) for row in rows("comparison/by_frequency.csv")]).all()
