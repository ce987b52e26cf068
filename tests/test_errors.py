# SPDX-License-Identifier: Apache-2.0
"""Errors are raised in worker processes and in other ranks; what they say has to arrive."""

from __future__ import annotations

import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from staticdropout import errors
from staticdropout.errors import StaticDropoutError, VideoDecodeError

EXAMPLES = (
    errors.BatchError("no video"),
    errors.OptionError("rate=2"),
    errors.UnknownNameError("style", "oil", ["paint"]),
    errors.LayerNotFoundError("res9", ["res5"]),
    errors.LayerNotCalledError(["res5"]),
    errors.DatasetNotFoundError("/nowhere", ["labels"], "Get it."),
    errors.CheckpointMismatchError("other keys"),
    errors.FramesNotWrittenError("the disk is full"),
    VideoDecodeError("a.webm", "decord", "it ends early", "Fetch it again."),
)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_keep_type_message_and_attributes_when_pickled(error: StaticDropoutError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_decode_error_names_file_reader_reason_and_hint() -> None:
    error = VideoDecodeError("a.webm", "decord", "it ends early", "Fetch it again.")
    assert str(error) == "Cannot read 'a.webm' with reader 'decord': it ends early. Fetch it again."
    assert (error.path, error.reader, error.reason, error.hint) == (
        "a.webm",
        "decord",
        "it ends early",
        "Fetch it again.",
    )


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise VideoDecodeError("a.webm", "decord", "it ends early", "Fetch it again.")


def test_a_decode_error_of_a_worker_process_arrives_as_one() -> None:
    with pytest.raises(VideoDecodeError, match=r"a\.webm.*decord.*it ends early.*Fetch it again"):
        next(iter(DataLoader(Broken(), num_workers=1)))
