# SPDX-License-Identifier: Apache-2.0
"""ClassReport: what every class scores and how often it was trained on, in a file of the run."""

from __future__ import annotations

import csv
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import class_ranks
import numpy as np
import pytest
import torch
from class_ranks import Counting
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import ConcatDataset, DataLoader, Subset
from toys import CLASSES, Clips, ToyClassifier, make_trainer

from staticdropout.callbacks import ClassReport
from staticdropout.callbacks.class_frequency import class_names, labels_of
from staticdropout.datamodules import Entry, EvalTransform, VideoDataset
from staticdropout.errors import AnnotationError, DatasetNotFoundError
from staticdropout.metrics import read_class_table


class Labelled(Clips):
    """Clips that tell their labels, and fail when one is read without need."""

    def __init__(self, length: int, broken: bool = False) -> None:
        super().__init__(length)
        self.targets, self.broken = [index % CLASSES for index in range(length)], broken

    def __getitem__(self, index: int) -> dict[str, Any]:
        assert not self.broken, "a clip was decoded to count labels"
        return super().__getitem__(index)


class Data(LightningDataModule):
    """Names its classes; the third one is rarer in training."""

    class_names = ("push [a] thing", "pull", "drop", "Fall, slowly")

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Labelled(15), 5)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Clips(10), 4)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Clips(7), 4)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counted(module: torch.nn.Module, length: int) -> list[tuple[int, int]]:
    """Correct and all clips of each class by the module's own answers, one clip at a time."""
    module.eval()
    correct: Counter[int] = Counter()
    total: Counter[int] = Counter()
    with torch.no_grad():
        for item in (Clips(length)[index] for index in range(length)):
            total[item["label"]] += 1
            correct[item["label"]] += int(module(item["video"][None]).argmax() == item["label"])
    return [(correct[index], total[index]) for index in range(CLASSES)]


def test_after_a_training_the_file_is_about_its_final_weights(tmp_path: Path) -> None:
    module = Counting()
    make_trainer(tmp_path, [ClassReport()], max_epochs=2).fit(module, datamodule=Data())
    found = rows(tmp_path / "val_classes.csv")
    assert [row["class"] for row in found] == list(Data.class_names)
    assert [row["train_clips"] for row in found] == ["4", "4", "4", "3"]
    (about,) = {tuple(row[name] for name in ("model", "stage", "epoch", "step", "checkpoint")) for row in found}
    assert about == ("Counting", "val", "1", "6", "")
    expected = counted(module, 10)
    assert [(int(row["correct"]), int(row["clips"])) for row in found] == expected
    for row, (correct, total) in zip(found, expected, strict=True):
        assert float(row["accuracy"]) == pytest.approx(100 * correct / total, abs=1e-4)


def test_a_test_has_a_file_of_its_own_and_leaves_the_validation(tmp_path: Path) -> None:
    module, trainer = Counting(), make_trainer(tmp_path, [ClassReport()], max_epochs=1)
    trainer.fit(module, datamodule=Data())
    before = (tmp_path / "val_classes.csv").read_bytes()
    trainer.test(module, datamodule=Data(), verbose=False)
    assert (tmp_path / "val_classes.csv").read_bytes() == before
    found = rows(tmp_path / "test_classes.csv")
    assert sum(int(row["clips"]) for row in found) == 7
    assert {row["stage"] for row in found} == {"test"}
    assert [row["train_clips"] for row in found] == ["4", "4", "4", "3"]  # known since the training


def test_a_validated_checkpoint_is_told_with_its_own_epoch_and_step(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    trainer = make_trainer(tmp_path / "a", [keep, ClassReport()], max_epochs=2, enable_checkpointing=True)
    trainer.fit(Counting(), datamodule=Data())
    path = tmp_path / "kept" / "epoch=0.ckpt"
    make_trainer(tmp_path / "b", [ClassReport()]).validate(Counting(), datamodule=Data(), ckpt_path=path, verbose=False)
    (about,) = {(row["epoch"], row["step"], row["checkpoint"]) for row in rows(tmp_path / "b/val_classes.csv")}
    assert about == ("0", "3", str(path))
    assert {row["step"] for row in rows(tmp_path / "a/val_classes.csv")} == {"6"}
    assert {row["train_clips"] for row in rows(tmp_path / "b/val_classes.csv")} == {""}


def test_a_resumed_training_takes_the_place_of_the_file(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    trainer = make_trainer(tmp_path, [keep, ClassReport()], max_epochs=1, enable_checkpointing=True)
    trainer.fit(Counting(), datamodule=Data())
    again = make_trainer(tmp_path, [ClassReport()], max_epochs=2)
    again.fit(Counting(), datamodule=Data(), ckpt_path=tmp_path / "kept" / "epoch=0.ckpt")
    (about,) = {(row["epoch"], row["step"], row["checkpoint"]) for row in rows(tmp_path / "val_classes.csv")}
    assert about == ("1", "6", "")


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_the_file_lies_beside_the_logs(tmp_path: Path, kind: Any) -> None:
    trainer = make_trainer(tmp_path, [ClassReport()], logger=kind(tmp_path, name="exp", version="v"))
    trainer.validate(Counting(), datamodule=Data(), verbose=False)
    assert (tmp_path / "exp/v/val_classes.csv").is_file()
    trainer = make_trainer(tmp_path, [ClassReport(tmp_path / "mine")], logger=kind(tmp_path, name="exp", version="w"))
    trainer.validate(Counting(), datamodule=Data(), verbose=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["val_classes.csv"]


def test_the_sanity_check_does_not_count_and_a_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    class Stop(Counting):
        def on_train_start(self) -> None:
            raise KeyboardInterrupt

    for module, options in ((Stop(), {}), (Counting(), {"fast_dev_run": True})):
        trainer = make_trainer(tmp_path, [ClassReport()], num_sanity_val_steps=2, **options)
        try:
            trainer.fit(module, datamodule=Data())
        except (KeyboardInterrupt, SystemExit):
            assert isinstance(module, Stop)
        assert isinstance(module.class_counts, torch.Tensor)
    assert not list(tmp_path.rglob("*classes.csv"))


def test_an_evaluation_without_clips_writes_nothing_of_the_one_before(tmp_path: Path) -> None:
    module, trainer = Counting(), make_trainer(tmp_path, [ClassReport()])
    trainer.validate(module, datamodule=Data(), verbose=False)
    assert module.class_counts is not None
    module.blind = True
    trainer.test(module, datamodule=Data(), verbose=False)
    assert [path.name for path in tmp_path.glob("*.csv")] == ["val_classes.csv"]


def test_a_module_without_counts_is_told_once_and_trains_on(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ClassReport()], max_epochs=3)
    with pytest.warns(UserWarning, match="ToyClassifier has no class_counts") as caught:
        trainer.fit(ToyClassifier(), datamodule=Data())
    assert len([1 for warning in caught if "class_counts" in str(warning.message)]) == 1
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("wrong", [torch.zeros(CLASSES), [1, 2]])
def test_counts_of_another_shape_are_refused(tmp_path: Path, wrong: Any) -> None:
    module = Counting(fixed=wrong)
    trainer = make_trainer(tmp_path, [ClassReport()])
    with pytest.raises(MisconfigurationException, match=r"\(num_classes, 2\).*found (shape \(4,\)|list)"):
        trainer.validate(module, datamodule=Data(), verbose=False)


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trainer = make_trainer(tmp_path, [ClassReport(tmp_path / "file" / "below")])
    with pytest.warns(UserWarning, match="could not be written to .*below"):
        trainer.validate(Counting(), datamodule=Data(), verbose=False)


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(tmp_path, [ClassReport()]).validate(Counting(), datamodule=Data(), verbose=False)
    assert not [warning for warning in caught if "class_counts" in str(warning.message)]


class Entries(list[Any]):
    """A data set as this package has them."""

    def __init__(self, labels: list[Any]) -> None:
        super().__init__(labels)
        self.entries = [SimpleNamespace(label=label) for label in labels]


class Strangers(list[Any]):
    """A data set of somebody else."""

    def __init__(self, name: str, values: Any, length: int = 4) -> None:
        super().__init__(range(length))
        setattr(self, name, values)


LABELS = [0, 3, 3, 1]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (Entries(LABELS), LABELS),
        (Entries([0, -1, 2]), [0, -1, 2]),
        (Labelled(5, broken=True), [0, 1, 2, 3, 0]),
        (Strangers("labels", LABELS), LABELS),
        (Strangers("targets", torch.tensor(LABELS)), LABELS),
        (Strangers("targets", np.array(LABELS, np.uint8)), LABELS),
        (Subset(Entries(LABELS), [2, 0]), [3, 0]),  # type: ignore[arg-type]
        (ConcatDataset([Entries(LABELS), Subset(Entries([7]), [0])]), [*LABELS, 7]),  # type: ignore[list-item, arg-type]
        (ConcatDataset([Entries(LABELS), Clips(4)]), None),  # type: ignore[list-item]
        (Strangers("labels", ["push", "pull", "push", "pull"]), None),
        (Strangers("labels", torch.eye(4)), None),
        (Strangers("labels", [0.1, 0.2, 0.3, 0.4]), None),
        (Strangers("labels", [True, False, True, True]), None),
        (Strangers("labels", {0: "push"}), None),
        (Strangers("labels", lambda: LABELS), None),
        (Strangers("labels", LABELS, length=5), None),
        (Clips(4), None),
        (None, None),
    ],
)
def test_labels_are_found_without_reading_an_item_or_left_unknown(dataset: Any, expected: list[int] | None) -> None:
    labels = labels_of(dataset)
    assert (None if labels is None else labels.tolist()) == expected


def test_the_labels_of_this_packages_data_sets_are_known_without_a_video() -> None:
    entries = [Entry(str(label), Path("nowhere.webm"), label) for label in LABELS]
    dataset = VideoDataset(entries, EvalTransform(24, short_side=24), training=True)
    labels = labels_of(dataset)
    assert labels is not None
    assert labels.tolist() == LABELS


class Telling(Data):
    """Knows its training labels also where it only validates."""

    def __init__(self, labels: list[int] | None) -> None:
        super().__init__()
        self.labels = labels

    def training_labels(self) -> list[int]:
        if self.labels is None:
            raise DatasetNotFoundError("/data", ["train.csv"], "Fetch it.")
        return self.labels


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 0, 3, -1], [2, 0, 0, 1]), ([0, 9], [None] * 4), (None, [None] * 4)]
)
def test_a_data_module_can_tell_the_training_labels_to_a_validation(
    tmp_path: Path, labels: list[int] | None, expected: list[int | None]
) -> None:
    make_trainer(tmp_path, [ClassReport()]).validate(Counting(), datamodule=Telling(labels), verbose=False)
    train_clips = read_class_table(tmp_path / "val_classes.csv").train_clips
    assert [None if np.isnan(value) else int(value) for value in train_clips] == expected


@pytest.mark.parametrize("names", [None, ("a", "b"), ("a", "a", "b", "c")])
def test_classes_without_names_of_their_own_have_numbers(tmp_path: Path, names: Any) -> None:
    data = Data()
    data.class_names = names
    make_trainer(tmp_path, [ClassReport()]).validate(Counting(), datamodule=data, verbose=False)
    assert read_class_table(tmp_path / "val_classes.csv").names == ("0", "1", "2", "3")


def test_two_ranks_write_one_file_about_all_clips(tmp_path: Path) -> None:
    subprocess.run([sys.executable, class_ranks.__file__, tmp_path / "pair"], check=True, timeout=200)
    class_ranks.run(tmp_path / "alone", 1)
    assert (tmp_path / "pair/val_classes.csv").read_bytes() == (tmp_path / "alone/val_classes.csv").read_bytes()
    assert read_class_table(tmp_path / "alone/val_classes.csv").clips.tolist() == [6, 6, 6, 6]


def test_classes_without_names_are_called_by_their_numbers() -> None:
    class Lists:
        @property
        def class_names(self) -> tuple[str, ...]:
            raise AnnotationError("The classes are not known.")

    trainer = make_trainer(Path(), [])
    trainer.datamodule = Lists()  # type: ignore[attr-defined] # set by Lightning in a run
    assert class_names(trainer, 3) == ["0", "1", "2"]
