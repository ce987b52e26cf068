# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from action_data import SMALL, SOMETHING_ELSE, something_else, write_clip, write_json

from staticdropout.datamodules import SomethingElseDataModule, SSv2DataModule
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError

ALPHABETICAL = ("Closing something", "Moving something up", "Opening something")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return something_else(tmp_path / "ssv2")


def data(root: Path, stage: str | None = None, **options: Any) -> SomethingElseDataModule:
    module = SomethingElseDataModule(str(root), **{**SMALL, **options})
    module.setup(stage)
    return module


def labels(loader: Any) -> dict[str, int]:
    return {i: int(label) for batch in loader for i, label in zip(batch["id"], batch["label"], strict=True)}


def test_classes_have_the_order_of_ssv2_unless_told_otherwise(root: Path) -> None:
    module = data(root, batch_size=1)
    assert module.class_names == ALPHABETICAL
    assert labels(module.train_dataloader()) == {"1": 1, "2": 2, "3": 0}
    for loader in (module.val_dataloader(), module.test_dataloader(), module.predict_dataloader()):
        assert labels(loader) == {"4": 2, "5": 1}


def test_the_order_of_the_authors_is_that_of_their_file(root: Path) -> None:
    module = data(root, class_order="something_else", batch_size=1)
    assert {name: index for index, name in enumerate(module.class_names)} == SOMETHING_ELSE
    assert labels(module.train_dataloader()) == {"1": 2, "2": 0, "3": 1}


def test_with_the_real_files_a_head_of_ssv2_fits_and_one_of_the_authors_fits_the_other_order(
    real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "annotations" / "something_else"
    shutil.copy(folder / "compositional_labels.json", tmp_path / "labels.json")
    shutil.copy(folder / "compositional_oneobject_train.head.json", tmp_path / "train.json")
    shutil.copy(tmp_path / "train.json", tmp_path / "validation.json")
    (tmp_path / "videos").mkdir()
    official = SSv2DataModule("x", labels_dir=str(real_data / "annotations" / "ssv2")).class_names
    ours = data(tmp_path, "fit")
    theirs = data(tmp_path, "fit", class_order="something_else")
    assert ours.class_names == official
    assert theirs.class_names[76] == "Moving something up"
    assert sum(a == b for a, b in zip(official, theirs.class_names, strict=True)) == 1
    raw = {
        entry["id"]: entry["template"].translate({91: None, 93: None})
        for entry in json.loads((tmp_path / "train.json").read_text())
    }
    for module in (ours, theirs):
        entries = module._datasets["train"].entries
        assert {entry.id: module.class_names[entry.label] for entry in entries} == raw


@pytest.mark.parametrize("folder", ["dataset_splits/compositional", "compositional", "annotations", "."])
def test_the_split_files_are_found_in_the_usual_places(root: Path, folder: str) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for file in list((root / "something_else").iterdir()):
        file.rename(root / folder / file.name)
    (root / "something_else").rmdir()
    assert len(labels(data(root, "validate").val_dataloader())) == 2


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("base", ("base_labels.json", "base_training_set.json", "base_validation_set.json")),
        ("5shot", ("finetune_labels.json", "finetune_5shot_training.json", "finetune_5shot_validation.json")),
        ("10shot", ("finetune_labels.json", "finetune_10shot_training.json", "finetune_10shot_validation.json")),
    ],
)
def test_the_few_shot_files_are_read_by_their_names(root: Path, task: Any, files: tuple[str, ...]) -> None:
    for old, new in zip(("labels.json", "train.json", "validation.json"), files, strict=True):
        target = root / "dataset_splits" / "fewshot" / new
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / "something_else" / old).rename(target)
    module = data(root, task=task, batch_size=1)
    assert set(labels(module.train_dataloader())) == {"1", "2", "3"}
    assert set(labels(module.val_dataloader())) == {"4", "5"}


def test_the_files_of_ssv2_itself_are_not_mistaken_for_these(root: Path) -> None:
    ssv2 = {name: str(index) for index, name in enumerate(ALPHABETICAL)}
    write_json(root / "labels" / "labels.json", ssv2)
    write_json(root / "labels" / "validation.json", [{"id": "1", "template": "Closing [something]"}])
    assert set(labels(data(root, "validate").val_dataloader())) == {"4", "5"}
    (root / "something_else" / "validation.json").unlink()  # the one of SSv2 is another split
    with pytest.raises(DatasetNotFoundError, match=r"something_else/validation\.json"):
        data(root, "validate")
    shutil.rmtree(root / "something_else")
    with pytest.raises(AnnotationError, match=r"Something-Something V2 itself.*--data\.labels_dir"):
        data(root, "validate")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels.json", [], "labels.json"),
        ("labels.json", {"a": 1, "b": 1}, "labels.json"),
        ("labels.json", {"a": 1, "b": 2}, "labels.json"),
        ("validation.json", {}, "JSON list"),
        ("validation.json", [], "no entries"),
        ("validation.json", [{"id": 4, "template": "Opening [something]"}], "Entry 0 .*validation"),
        ("validation.json", [{"id": "4"}], "Entry 0 .*'template'"),
        ("validation.json", [{"id": "4", "template": "Openin [something]"}], "Close matches: Opening something"),
    ],
)
def test_files_in_another_format_are_refused(root: Path, file: str, content: Any, message: str) -> None:
    write_json(root / "something_else" / file, content)
    with pytest.raises(AnnotationError, match=message):
        data(root, "validate")


def test_missing_files_are_named_with_the_place_to_get_them(root: Path) -> None:
    shutil.rmtree(root / "something_else")
    with pytest.raises(DatasetNotFoundError, match=r"labels\.json.*joaanna/something_else"):
        data(root, "validate")


@pytest.mark.parametrize("options", [{"class_order": "official"}, {"task": "20shot"}])
def test_unknown_orders_and_tasks_are_refused(root: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        data(root, **options)


def test_clips_are_not_mirrored(root: Path) -> None:
    assert SomethingElseDataModule(str(root)).hparams["flip"] is False


def test_videos_that_were_encoded_anew_are_found(root: Path) -> None:
    shutil.rmtree(root / "20bn-something-something-v2")
    for name in ("4", "5"):
        write_clip(root / "videos" / f"{name}.mp4")
    assert len(labels(data(root, "validate").val_dataloader())) == 2
