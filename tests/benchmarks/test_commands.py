# SPDX-License-Identifier: Apache-2.0
"""What all benchmark commands have in common: their help, their device and clock, and their place in the README."""

from __future__ import annotations

import argparse
import csv
import importlib
import platform
import re
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from pages import DOCS, PLACE
from parts.common import RESULTS, HelpFormatter, device_name, environment, report, wait
from parts.options import add_clock, add_device, clock, clock_name, device_of, parse
from parts.trainers import place

FOLDER = RESULTS.parent
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in README.splitlines() if line.startswith("| `")]


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser that a command would parse its options with."""
    parsers: list[argparse.ArgumentParser] = []

    class ParsedError(Exception):
        pass

    def parse_args(self: argparse.ArgumentParser, *_: object) -> None:
        parsers.append(self)
        raise ParsedError

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_args), pytest.raises(ParsedError):
        importlib.import_module(command).main()
    return parsers[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_its_docstring_and_explains_every_option_with_its_default(command: str) -> None:
    found = parser_of(command)
    assert found.formatter_class is HelpFormatter
    assert found.description == importlib.import_module(command).__doc__
    text = found.format_help()
    assert "default: None" not in text
    assert "default: False" not in text
    assert not re.search(r"\(default[^)]*\)\s+\(default", text)
    assert [action.option_strings for action in found._actions if not action.help] == []


def test_a_default_is_shown_as_one_would_type_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser(formatter_class=lambda prog: HelpFormatter(prog, width=200))
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224], help="in pixels")
    parser.add_argument("--output", type=Path, default=tmp_path / "results" / "a.csv", help="the CSV")
    parser.add_argument("--frames", type=int, default=0, help="of a clip")
    parser.add_argument("--part", default="50 %", help="of all")
    parser.add_argument("--fast", action="store_true", help="no details")
    parser.add_argument("--data", type=Path, help="a folder")
    text = parser.format_help()
    assert "in pixels (default: 112 224)\n" in text
    assert "the CSV (default: results/a.csv)\n" in text
    assert "of a clip (default: 0)\n" in text
    assert "of all (default: 50 %)\n" in text
    assert "no details\n" in text
    assert "a folder\n" in text


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_device(made)
    add_clock(made)
    return made


def test_a_gpu_has_its_number_and_what_is_no_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(parser(), []).device == "cpu"
    assert [device_of(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda:0", "cuda:1"]
    for name in ("gpu", "cuda:", "cuda:x", "0"):
        with pytest.raises(SystemExit):
            parse(parser(), ["--device", name])
        assert f"'{name}' is no device; write cpu, cuda (the first GPU) or cuda:1" in capsys.readouterr().err


def test_processor_time_does_not_go_with_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(parser(), ["--processor-time"]).processor_time
    assert parse(parser(), ["--device", "cuda:1"]).device == "cuda:1"
    with pytest.raises(SystemExit):
        parse(parser(), ["--processor-time", "--device", "cuda"])
    assert "processor time does not see the GPU's work" in capsys.readouterr().err


def test_the_clock_is_that_of_the_options_and_is_put_back() -> None:
    wall = time.perf_counter
    processor, other = parse(parser(), ["--processor-time"]), parse(parser(), [])
    with clock(processor):
        assert time.perf_counter is time.process_time
    with clock(other):
        assert time.perf_counter is wall
    assert time.perf_counter is wall
    assert (clock_name(processor), clock_name(other)) == ("processor", "wall")


def test_everything_of_a_gpu_is_that_of_the_gpu_which_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    for device in ("cpu", "cuda:0", "cuda:1"):
        wait(device)
    assert waited == ["cuda:0", "cuda:1"]
    assert device_name("cpu") == "cpu"
    assert environment("cuda:1")["device"] == "name of cuda:1"
    assert place("cuda:1") == {"accelerator": "gpu", "devices": [1]}
    assert place("cuda") == place("cuda:0") == {"accelerator": "gpu", "devices": [0]}
    assert place("cpu") == {"accelerator": "cpu", "devices": 1}


def test_what_a_row_says_of_its_device_holds_for_that_row(tmp_path: Path) -> None:
    rows = [{"part": "passes", "ms": 1}, {"part": "files", "ms": 2, "device": "cpu"}]
    report(rows, {"device": "GPU", "clock": "wall"}, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["part", "ms", "device", "clock"],
            ["passes", "1", "GPU", "wall"],
            ["files", "2", "cpu", "wall"],
        ]


def test_a_run_on_another_device_adds_its_rows_and_one_on_the_same_replaces_its_own(tmp_path: Path) -> None:
    cpu, gpu = ({"device": name, "ran_on": name, "clock": "wall"} for name in ("cpu", "GPU"))
    report([{"part": "a", "ms": 1}, {"part": "b", "ms": 2}], cpu, tmp_path / "a.csv")
    report([{"part": "a", "ms": 3, "watt": 9}, {"part": "files", "ms": 4, "device": "cpu"}], gpu, tmp_path / "a.csv")
    report([{"part": "a", "ms": 5}], cpu, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = [(row["ran_on"], row["part"], row["ms"], row["watt"]) for row in csv.DictReader(file)]
    assert rows == [("GPU", "a", "3", "9"), ("GPU", "files", "4", ""), ("cpu", "a", "5", "")]


def test_versions_are_those_of_what_is_installed() -> None:
    found = environment("cpu", ("numpy", "no-such-package"))["versions"].split(", ")
    assert found[0] == f"python {platform.python_version()}"
    assert [name.split()[0] for name in found[1:]] == ["lightning", "numpy"]
    assert found[-1].endswith(np.__version__)


@pytest.mark.parametrize("name", [*(f"{name}.py" for name in COMMANDS), *sorted(p.name for p in RESULTS.glob("*.csv"))])
def test_the_readme_names_every_command_and_every_result(name: str) -> None:
    assert any(f"`{name}`" in row for row in ROWS)


def test_the_readme_names_the_pages_that_show_a_result() -> None:
    links = re.findall(r"\]\((\S+?)\)", README)
    assert all((FOLDER / link).is_file() for link in links)
    shown = [(page.name, name) for page in DOCS.glob("*.md") for _, name, *_ in PLACE.findall(page.read_text("utf-8"))]
    tables = [(page, name) for page, name in shown if name.endswith(".csv")]
    assert tables
    for page, name in tables:
        assert any(f"`{name}`" in row and f"(../docs/{page})" in row for row in ROWS), f"{page} shows {name}"
