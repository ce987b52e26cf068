# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything

from staticdropout.datamodules import SSv2DataModule
from staticdropout.errors import (
    AnnotationError,
    DatasetNotFoundError,
    ReaderNotAvailableError,
    UnknownNameError,
    VideoDecodeError,
)

VIDEOS = "20bn-something-something-v2"
SMALL: dict[str, Any] = {"num_frames": 4, "crop_size": 24, "short_side": (24, 28), "batch_size": 2, "num_workers": 0}


def data(root: Path, stage: str | None = None, **options: Any) -> SSv2DataModule:
    module = SSv2DataModule(str(root), **{**SMALL, **options})
    module.setup(stage)
    return module


def edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_loaders_give_batches_of_the_contract(shapes_root: Path) -> None:
    module = data(shapes_root)
    for loader, size in ((module.train_dataloader(), 6), (module.val_dataloader(), 4), (module.test_dataloader(), 3)):
        batches = list(loader)
        assert sum(len(batch["id"]) for batch in batches) == size
        for batch in batches:
            assert set(batch) == {"video", "label", "id"}
            assert batch["video"].shape[1:] == (3, 4, 24, 24)
            assert batch["video"].dtype == torch.uint8
            assert batch["label"].dtype == torch.int64
            assert 0 <= int(batch["label"].min()) <= int(batch["label"].max()) < module.num_classes == 2


def test_validation_is_in_the_order_of_the_file_and_training_is_shuffled(shapes_root: Path) -> None:
    module = data(shapes_root)
    listed = [entry["id"] for entry in json.loads((shapes_root / "labels/validation.json").read_text())]
    assert [video_id for batch in module.val_dataloader() for video_id in batch["id"]] == listed
    loader = module.train_dataloader()
    orders = {tuple(video_id for batch in loader for video_id in batch["id"]) for _ in range(5)}
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset("123456")}


def test_labels_are_the_official_indices_of_the_templates(shapes_root: Path) -> None:
    labels = json.loads((shapes_root / "labels/labels.json").read_text())
    module = data(shapes_root, "fit")
    assert {name: str(index) for index, name in enumerate(module.class_names)} == labels
    listed = json.loads((shapes_root / "labels/train.json").read_text())
    expected = {entry["id"]: int(labels[entry["template"].replace("[", "").replace("]", "")]) for entry in listed}
    found = {i: int(label) for b in module.train_dataloader() for i, label in zip(b["id"], b["label"], strict=True)}
    assert found == expected


@pytest.mark.parametrize("folder", ["labels", "."])
def test_the_older_file_names_are_found_too(root: Path, folder: str) -> None:
    for file in list((root / "labels").iterdir()):
        file.rename(root / folder / f"something-something-v2-{file.name}")
    module = data(root)
    assert len(module.train_dataloader()) == 3
    assert [batch["label"].min() >= 0 for batch in module.test_dataloader()]


def test_annotations_and_videos_can_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    (root / "labels").rename(tmp_path / "annotations")
    (root / VIDEOS).rename(tmp_path / "clips")
    module = data(root, labels_dir=str(tmp_path / "annotations"), video_dir=str(tmp_path / "clips"))
    assert len(list(module.train_dataloader())) == 3


def test_videos_may_lie_in_a_folder_called_videos(root: Path) -> None:
    (root / VIDEOS).rename(root / "videos")
    assert len(list(data(root, "fit").train_dataloader())) == 3


def test_frame_folders_are_read_with_the_frames_reader(frames_root: Path) -> None:
    module = data(frames_root, reader="frames")
    assert "skipped" not in next(iter(module.train_dataloader()))
    assert len(list(module.val_dataloader())) == 2


def test_a_missing_root_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"does not exist.*Qualcomm"):
        data(tmp_path / "nowhere")


@pytest.mark.parametrize("gone", ["labels/labels.json", "labels/train.json", VIDEOS])
def test_an_incomplete_root_names_what_was_expected(root: Path, gone: str) -> None:
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(DatasetNotFoundError, match=Path(gone).name):
        data(root, "fit")


def test_a_missing_video_is_replaced_in_training_and_left_out_in_validation(root: Path) -> None:
    (root / VIDEOS / "2.webm").unlink()
    (root / VIDEOS / "8.webm").unlink()
    module = data(root)
    batches = list(module.train_dataloader())
    assert [len(batch["id"]) for batch in batches] == [2, 2, 2]
    assert ("2", "there is no such file") in [pair for batch in batches for pair in batch.get("skipped", ())]
    batches = list(module.val_dataloader())
    assert [video_id for batch in batches for video_id in batch["id"]] == ["7", "9", "10"]
    assert [pair for batch in batches for pair in batch.get("skipped", ())] == [("8", "there is no such file")]


def test_an_unreadable_video_raises_when_told_to(root: Path) -> None:
    (root / VIDEOS / "8.webm").write_bytes(b"damaged")
    with pytest.raises(OSError, match=r"8\.webm"):
        list(data(root, on_error="raise").val_dataloader())


def test_the_error_from_a_worker_process_names_the_video(root: Path) -> None:
    (root / VIDEOS / "8.webm").write_bytes(b"damaged")
    with pytest.raises(VideoDecodeError, match=r"8\.webm.*data\.on_error skip"):
        list(data(root, on_error="raise", num_workers=1).val_dataloader())


def test_a_validation_batch_can_be_empty(root: Path) -> None:
    (root / VIDEOS / "7.webm").unlink()
    batch = next(iter(data(root, eval_batch_size=1).val_dataloader()))
    assert batch["video"].shape == (0, 3, 4, 24, 24)
    assert batch["skipped"] == [("7", "there is no such file")]


def test_a_label_that_no_class_has_names_the_entry_and_close_matches(root: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[3]["template"] = "Pushing [something] from left to wright"

    edit(root / "labels/train.json", change)
    with pytest.raises(
        AnnotationError, match=r"Entry 3 .*id '4'.*wright.*Close matches: Pushing something from left to r"
    ):
        data(root, "fit")


@pytest.mark.parametrize("invented", [{"id": 1, "template": "x", "label_id": 0}, {"id": "1", "label_id": 0}])
def test_the_invented_layout_with_label_ids_is_recognised(root: Path, invented: dict[str, Any]) -> None:
    edit(root / "labels/train.json", lambda entries: entries.insert(0, invented))
    with pytest.raises(AnnotationError, match="label_id"):
        data(root, "fit")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train.json", "{not json"),
        ("train.json", "{}"),
        ("train.json", "[]"),
        ("train.json", '["1"]'),
        ("train.json", '[{"id": "1"}]'),
        ("labels.json", '["Closing something"]'),
        ("labels.json", '{"a": "0", "b": "0"}'),
        ("labels.json", '{"a": "1", "b": "2"}'),
        ("labels.json", '{"a": "zero"}'),
    ],
)
def test_annotations_in_another_format_are_refused_by_file_name(root: Path, file: str, content: str) -> None:
    (root / "labels" / file).write_text(content)
    with pytest.raises(AnnotationError, match=rf"{Path(file).stem}"):
        data(root, "fit")


def test_the_test_split_takes_its_labels_from_the_answers(shapes_root: Path) -> None:
    module = data(shapes_root, "test")
    answers = dict(line.split(";") for line in (shapes_root / "labels/test-answers.csv").read_text().splitlines())
    found = {i: int(label) for b in module.test_dataloader() for i, label in zip(b["id"], b["label"], strict=True)}
    assert {i: module.class_names[label] for i, label in found.items()} == answers


def test_without_answers_testing_takes_the_validation_split_and_predicting_the_test_split(root: Path) -> None:
    (root / "labels/test-answers.csv").unlink()
    module = data(root)
    assert [i for batch in module.test_dataloader() for i in batch["id"]] == ["7", "8", "9", "10"]
    batches = list(module.predict_dataloader())
    assert [i for batch in batches for i in batch["id"]] == ["11", "12", "13"]
    assert {int(label) for batch in batches for label in batch["label"]} == {-1}


def test_several_views_come_in_testing_only(shapes_root: Path) -> None:
    module = data(shapes_root, test_clips=2, test_crops=3)
    assert next(iter(module.val_dataloader()))["video"].shape == (2, 3, 4, 24, 24)
    assert next(iter(module.test_dataloader()))["video"].shape == (2, 6, 3, 4, 24, 24)


def test_the_evaluation_crop_can_have_its_own_size(shapes_root: Path) -> None:
    module = data(shapes_root, crop_size=16, eval_crop_size=24)
    assert next(iter(module.train_dataloader()))["video"].shape[-2:] == (16, 16)
    assert next(iter(module.val_dataloader()))["video"].shape[-2:] == (24, 24)


def test_limit_takes_the_first_entries_of_each_split(shapes_root: Path) -> None:
    module = data(shapes_root, limit=2)
    assert [i for batch in module.val_dataloader() for i in batch["id"]] == ["7", "8"]
    assert sorted(i for batch in module.train_dataloader() for i in batch["id"]) == ["1", "2"]


def test_incomplete_training_batches_are_dropped_unless_nothing_would_be_left(shapes_root: Path) -> None:
    assert [len(batch["id"]) for batch in data(shapes_root, batch_size=4).train_dataloader()] == [4]
    assert [len(batch["id"]) for batch in data(shapes_root, batch_size=8).train_dataloader()] == [6]


def test_wrong_options_are_refused(shapes_root: Path) -> None:
    with pytest.raises(UnknownNameError, match="pyav"):
        data(shapes_root, reader="pyaw")
    with pytest.raises(ValueError, match="short_side"):
        SSv2DataModule(str(shapes_root), crop_size=224, short_side=128)
    with pytest.raises((ReaderNotAvailableError, DatasetNotFoundError)):
        data(shapes_root / "nowhere", reader="torchcodec")


def test_errors_survive_the_way_out_of_a_process(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        data(tmp_path)
    assert isinstance(caught.value, FileNotFoundError)


def test_the_data_sets_can_be_sent_to_workers_that_are_spawned(shapes_root: Path) -> None:
    loader = data(shapes_root, "fit").train_dataloader()
    dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    assert collate([dataset[0]])["video"].shape == (1, 3, 4, 24, 24)


class Recorder(LightningModule):
    """Keeps what a Trainer hands to a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[list[str], int]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        assert batch["video"].dtype == torch.uint8
        self.seen.append((batch["id"], int(batch["video"].sum())))
        loss: torch.Tensor = self.layer(batch["video"].float().mean().reshape(1, 1)).sum()
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        assert batch["video"].dtype == torch.uint8

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-9)


def test_training_with_workers_is_reproducible_after_seed_everything(shapes_root: Path, tmp_path: Path) -> None:
    def run() -> list[tuple[list[str], int]]:
        seed_everything(11, workers=True, verbose=False)
        model, module = Recorder(), SSv2DataModule(str(shapes_root), **{**SMALL, "num_workers": 2})
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(model, datamodule=module)
        return model.seen

    first = run()
    assert len(first) == 6
    assert first == run()
    assert first[:3] != first[3:]  # another epoch, other crops and frames


def test_real_clips_are_read_with_two_workers(real_data: Path) -> None:
    module = data(real_data / "ssv2_mini", num_workers=2, batch_size=4, crop_size=48, short_side=(48, 56))
    assert module.num_classes == 174
    batches = list(module.train_dataloader())
    assert [batch["video"].shape for batch in batches] == [(4, 3, 4, 48, 48)] * 2
    assert not any("skipped" in batch for batch in batches)
    labels = {i: int(label) for b in module.val_dataloader() for i, label in zip(b["id"], b["label"], strict=True)}
    assert labels["166766"] == 57
    assert module.class_names[57] == "Poking something so that it falls over"
