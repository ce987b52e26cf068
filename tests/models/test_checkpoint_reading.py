# SPDX-License-Identifier: Apache-2.0
"""Files of every packaging are read, and none of them can run anything."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from staticdropout.errors import CheckpointError, UnsafeCheckpointError
from staticdropout.models.checkpoints import detect_format, read_checkpoint
from staticdropout.models.checkpoints.reading import read_content, weights_in

WEIGHTS = {"stem.conv.weight": torch.arange(6.0).reshape(2, 3), "stem.bn.num_batches_tracked": torch.tensor(7)}


def as_zip(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def as_legacy(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_legacy_with_any_pickle_behind_the_magic_number(content: Any) -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(content, protocol=2)


def as_zip_with_any_pickle_inside(content: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def as_pickle(protocol: int) -> Callable[[Any], bytes]:
    return lambda content: pickle.dumps(content, protocol=protocol)


TORCH = {"torch zip": as_zip, "torch legacy": as_legacy}
PACKAGINGS: dict[str, Callable[[Any], bytes]] = {
    **TORCH,
    "zip by hand": as_zip_with_any_pickle_inside,
    "legacy by hand": as_legacy_with_any_pickle_behind_the_magic_number,
    **{f"pickle {protocol}": as_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("name", ["model.pth", "model.pkl", "model"])
@pytest.mark.parametrize("packaging", TORCH)
def test_torch_files_are_known_by_content_whatever_their_name(packaging: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TORCH[packaging](WEIGHTS))
    assert detect_format(tmp_path / name) == packaging
    read = read_checkpoint(tmp_path / name)
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in WEIGHTS)
    assert read.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("protocol", range(5))  # 5 came with Python 3.8, long after caffe2's files
def test_caffe2_pickles_of_all_their_protocols_are_read(protocol: int, tmp_path: Path) -> None:
    blobs = OrderedDict(conv1_w=np.ones((2, 3), ">f4"), lr=np.float32(0.1), note="text", half=np.ones(2, np.float16))
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=protocol))
    assert detect_format(path) == "pickle"
    read = read_checkpoint(path)
    assert torch.equal(read["conv1_w"], torch.ones(2, 3))
    assert (read["half"].dtype, read["lr"].shape) == (torch.float16, ())
    assert "note" not in read


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # What Python 2 and NumPy 1 wrote for {"blobs": {"w": numpy.array([1.0], "float32")}}: byte strings, the old module.
    data = (
        b"\x80\x02}U\x05blobs}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04\x00\x00\x80?tbss."
    )
    (tmp_path / "old.pkl").write_bytes(data)
    assert read_checkpoint(tmp_path / "old.pkl")["w"].tolist() == [1.0]


@pytest.mark.parametrize("container", ["model_state", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "model._orig_mod."])
def test_containers_and_wrappers_are_taken_off(container: str, prefix: str, tmp_path: Path) -> None:
    content = {"epoch": np.int64(3), "cfg": "yaml", container: {prefix + key: value for key, value in WEIGHTS.items()}}
    torch.save(content, tmp_path / "file")
    assert read_checkpoint(tmp_path / "file").keys() == WEIGHTS.keys()


def test_all_that_is_beside_the_weights_is_read_as_safely(tmp_path: Path) -> None:
    torch.save({"epoch": np.int64(3), "cfg": "yaml", "model_state": WEIGHTS}, tmp_path / "file")
    content = read_content(tmp_path / "file")
    assert (int(content["epoch"]), content["cfg"]) == (3, "yaml")
    assert weights_in(content, tmp_path / "file").keys() == WEIGHTS.keys()
    torch.save({"cfg": argparse.Namespace(a=1), "model_state": WEIGHTS}, tmp_path / "file")
    with pytest.raises(UnsafeCheckpointError, match=r"argparse\.Namespace"):
        read_content(tmp_path / "file")


def test_of_a_lightning_checkpoint_the_model_alone_is_taken(tmp_path: Path) -> None:
    state = {**{f"model.{key}": value for key, value in WEIGHTS.items()}, "loss.weight": torch.ones(2)}
    content = {"pytorch-lightning_version": "2.6.0", "epoch": 1, "state_dict": state, "hyper_parameters": {"lr": 0.1}}
    torch.save(content, tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt").keys() == WEIGHTS.keys()


@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.parametrize("function", ["os.system", "open", "exec", "eval"])
def test_a_malicious_file_is_refused_and_nothing_in_it_has_run(packaging: str, function: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "it ran", tmp_path / "model.pkl"
    code = f"open({str(marker)!r}, 'w').close()"
    evil = {
        "os.system": Calls(os.system, f"touch '{marker}'"),
        "open": Calls(open, str(marker), "w"),
        "exec": Calls(exec, code),
        "eval": Calls(eval, code),
    }[function]
    for content in (evil, {"blobs": {"conv1_w": np.zeros(2), "x": evil}}, [evil], {"model_state": evil}):
        path.write_bytes(PACKAGINGS[packaging](content))
        with pytest.raises(UnsafeCheckpointError, match="nothing of it was run"):
            read_checkpoint(path)
        assert not marker.exists()


def test_pickle_itself_would_have_run_it(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Calls(open, str(tmp_path / "it ran"), "w"))).close()
    assert (tmp_path / "it ran").exists()


@pytest.mark.parametrize("packaging", ["torch zip", "torch legacy", "pickle 2"])
def test_the_refusal_names_what_the_file_asked_for(packaging: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(PACKAGINGS[packaging]({"model_state": WEIGHTS, "cfg": argparse.Namespace(a=1)}))
    wanted = "torch._utils._rebuild_tensor_v2" if packaging == "pickle 2" else "argparse.Namespace"
    with pytest.raises(UnsafeCheckpointError, match=wanted):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x0anumpy.core\x8c\x16multiarray._reconstruct\x93.",  # dotted names lead into attributes
        b"\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclasses__\x93.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf_7tR.",  # another encoding loads its module
        b"(iposix\nsystem\n.",  # INST instead of GLOBAL
        b"\x80\x02cbuiltins\ngetattr\n.",
    ],
)
def test_detours_around_the_list_of_names_are_closed(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "file")


def test_the_allowed_functions_cannot_be_changed_by_a_file(tmp_path: Path) -> None:
    # BUILD sets attributes of whatever lies on the stack, here of the function behind `_codecs.encode`.
    data = b"\x80\x02c_codecs\nencode\nN}X\x08\x00\x00\x00__call__NsX\x00\x00\x00\x000\x86b."
    for payload in (data, b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aNsb."):
        (tmp_path / "file").write_bytes(payload)
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "file")
    (tmp_path / "file").write_bytes(pickle.dumps({"blobs": {"w": np.ones(2)}}, protocol=2))
    assert read_checkpoint(tmp_path / "file")["w"].tolist() == [1, 1]


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:
        archive.writestr("program/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("program/constants.pkl", pickle.dumps((), protocol=2))
        archive.writestr("program/version", "3\n")
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "program.pt")


BROKEN = {
    "empty": (b"", "is empty"),
    "gzip": (gzip.compress(b"models"), "gzip archive.*Unpack.*models inspect"),
    "an error page": (b"<!DOCTYPE html><html>Not found</html>", "begins with b'<!DOCTYPE"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
    "half a torch zip": (as_zip(WEIGHTS)[:300], "damaged or breaks off"),
    "half a legacy file": (as_legacy(WEIGHTS)[:-20], "damaged or breaks off"),
    "half a pickle": (pickle.dumps({"blobs": {"w": np.ones(99)}}, protocol=2)[:200], "breaks off or is damaged"),
    "a number": (pickle.dumps(5), "holds a int"),
    "no weights": (as_zip({"epoch": 3}), "holds no weights; at its top there is 'epoch'"),
    "objects": (pickle.dumps({"blobs": {"w": np.array([None, 1])}}), "holds no weights"),
    "text": (b"just words", "neither a torch file nor a pickle"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_checkpoint_is_named_with_its_path(kind: str, tmp_path: Path) -> None:
    data, message = BROKEN[kind]
    (tmp_path / "model.pyth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(tmp_path / "model.pyth")
    assert "model.pyth" in str(caught.value)
    assert not isinstance(caught.value, UnsafeCheckpointError)


def test_another_zip_archive_is_not_taken_for_a_torch_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "papers.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="a zip archive, not a torch file"):
        read_checkpoint(tmp_path / "papers.zip")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "absent.pyth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)
