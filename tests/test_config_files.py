# SPDX-License-Identifier: Apache-2.0
"""Configs: short names, files that extend others, clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from staticdropout.config_files import expand_config_arguments, find_config, load_config, packaged_configs
from staticdropout.errors import ConfigNotFoundError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name", ["ssv2/slowonly_r50_staticdropout", "configs/ssv2/slowonly_r50_staticdropout.yaml", "configs/demo.yaml"]
)
def test_packaged_configs_are_found_by_short_name_and_by_the_path_of_the_readme(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name).is_file()


def test_a_file_of_ones_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = write(tmp_path / "configs" / "demo.yaml", "a: 1")
    assert find_config("configs/demo.yaml").resolve() == mine


def test_parts_are_not_listed() -> None:
    assert "demo" in packaged_configs()
    assert not [name for name in packaged_configs() if "parts" in name]


def test_configs_extend_each_other_mapping_by_mapping_and_append_to_lists(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "a.yaml", "x: {one: 1, two: 2}\nlist: [1]\n")
    write(tmp_path / "parts" / "b.yaml", "extends: a.yaml\nx: {two: 3}\nlist+: [2]\n")
    top = write(tmp_path / "top.yaml", "extends: [parts/b.yaml]\nx: {three: 3}\nlist+: [3]\nother: [9]\n")
    assert load_config(top) == {"x": {"one": 1, "two": 3, "three": 3}, "list": [1, 2, 3], "other": [9]}


def test_arguments_of_another_class_are_not_mixed_in(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "x: {class_path: A, init_args: {one: 1}}\ny: {class_path: A, init_args: {one: 1}}\n")
    top = write(
        tmp_path / "top.yaml",
        "extends: a.yaml\nx: {class_path: B, init_args: {two: 2}}\ny: {class_path: A, init_args: {two: 2}}\n",
    )
    expected = {"class_path": "A", "init_args": {"one": 1, "two": 2}}
    assert load_config(top) == {"x": {"class_path": "B", "init_args": {"two": 2}}, "y": expected}


@pytest.mark.parametrize("form", [["--config", "FILE"], ["--config=FILE"], ["-c", "FILE"]])
def test_the_command_line_is_expanded(tmp_path: Path, form: list[str]) -> None:
    path = write(tmp_path / "a.yaml", "b: [1, 2]")
    option, text = expand_config_arguments(["fit", *(part.replace("FILE", str(path)) for part in form), "--x=1"])[1:3]
    assert option == "--config"
    assert yaml.safe_load(text) == {"b": [1, 2]}


def test_configs_as_text_and_other_arguments_are_left_alone() -> None:
    arguments = ["fit", "--config", "a: 1\nb: 2", "--trainer.max_epochs", "3"]
    assert expand_config_arguments(arguments) == arguments


def test_an_unknown_config_is_reported_with_close_names() -> None:
    with pytest.raises(ConfigNotFoundError, match=r"Close matches: .*ssv2/slowonly_r50_staticdropout"):
        find_config("ssv2/slowonly_r50_staticdrop")


def test_a_missing_base_a_circle_and_a_list_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigNotFoundError, match=r"extends nothing\.yaml"):
        load_config(write(tmp_path / "a.yaml", "extends: nothing.yaml"))
    write(tmp_path / "b.yaml", "extends: c.yaml")
    with pytest.raises(ValueError, match="extends itself"):
        load_config(write(tmp_path / "c.yaml", "extends: b.yaml"))
    with pytest.raises(ValueError, match="expected a mapping"):
        load_config(write(tmp_path / "d.yaml", "- 1"))


def test_a_config_runs_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = write(tmp_path / "evil.yaml", f"a: !!python/object/apply:pathlib.Path.touch ['{marker}']")
    with pytest.raises(yaml.constructor.ConstructorError):
        load_config(evil)
    assert not marker.exists()
