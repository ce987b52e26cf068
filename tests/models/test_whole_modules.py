# SPDX-License-Identifier: Apache-2.0
"""Modules that were saved whole give up their weights, and nothing else happens."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import CheckpointError, UnsafeCheckpointError
from staticdropout.models.checkpoints.inert_objects import ALLOWED
from staticdropout.models.checkpoints.pickles import restricted_loads
from staticdropout.models.checkpoints.whole_modules import read_whole_module

# A throw-away package with the name that the authors' files ask for. Importing it leaves a trace.
SOURCE = """
import pathlib, torch
from torch import nn

pathlib.Path(__file__).with_name("imported").touch()


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.kind = nn.BatchNorm2d  # a class among the attributes, as the official generator keeps one
        self.act = nn.LeakyReLU(.2)


class GeneratorJ(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.conv0 = nn.Conv2d(3, 4, 3, bias=False)
        self.conv0.weight.data = torch.randn(4, 3, 3, 3, generator=generator).permute(0, 1, 3, 2)
        self.layers = nn.ModuleList([Inner(), nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(1, 2).bfloat16())])
        self.twice = self.layers[0]
        self.register_parameter("none", None)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("scratch", torch.ones(9), persistent=False)
        self.register_buffer("part", torch.arange(10.0)[3:6])
        self.register_buffer("void", torch.empty(0, 5))
        self.register_buffer("odd", torch.tensor([float("nan"), float("-inf"), -0.0, 1e-42]))
        self.use_bias, self.filters, self.size = True, [4, 3], torch.Size([2, 2])
        self.free = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)


class Evil(nn.Module):
    def __init__(self, *_):
        super().__init__()
        pathlib.Path(__file__).with_name("called").touch()

    def __setstate__(self, state):
        pathlib.Path(__file__).with_name("called").touch()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package, imported, and still importable while files are read."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "models", raising=False)
    module = __import__("models")
    yield module
    sys.modules.pop("models", None)


def save(thing: object, path: Path, legacy: bool = False) -> None:
    torch.save(thing, path, _use_new_zipfile_serialization=not legacy)
    forget(path.parent)


def forget(folder: Path) -> None:
    """Remove the package and its traces, so that a second import would be seen."""
    sys.modules.pop("models", None)
    for trace in ("imported", "called"):
        (folder / "models" / trace).unlink(missing_ok=True)


def assert_no_trace(folder: Path) -> None:
    assert "models" not in sys.modules
    assert {path.name for path in (folder / "models").iterdir()} <= {"__init__.py", "__pycache__"}
    assert {path.name for path in folder.iterdir()} <= {"models", "file.pth"}


def same_bits(one: Tensor, other: Tensor) -> bool:
    bits = [value.detach().contiguous().reshape(-1).view(torch.uint8) for value in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_state_dict_comes_back_bit_for_bit(legacy: bool, package: ModuleType, tmp_path: Path) -> None:
    network = package.GeneratorJ()
    expected = network.state_dict()
    save(network, tmp_path / "file.pth", legacy)
    read = read_whole_module(tmp_path / "file.pth")
    assert list(read) == list(expected)
    assert all(same_bits(read[name], expected[name]) for name in expected)
    assert "twice.norm.weight" in read
    assert not [name for name in read if "scratch" in name or "none" in name]
    assert_no_trace(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_have_memory_of_their_own(legacy: bool, package: ModuleType, tmp_path: Path) -> None:
    save(package.GeneratorJ(), tmp_path / "file.pth", legacy)
    read = read_whole_module(tmp_path / "file.pth")
    read["layers.0.norm.weight"].fill_(7)
    assert float(read["twice.norm.weight"].mean()) == 1
    assert not any(tensor.requires_grad for tensor in read.values())


def test_torch_itself_would_have_imported_the_package(package: ModuleType, tmp_path: Path) -> None:
    save(package.GeneratorJ(), tmp_path / "file.pth")
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert (tmp_path / "models" / "imported").exists()


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def in_zip(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", struct.pack("<4f", 1, 2, 3, 4))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def in_legacy(program: bytes) -> bytes:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    storage = pickle.dumps(["0"], protocol=2) + struct.pack("<q4f", 4, 1, 2, 3, 4)
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + program + storage


PACKAGINGS = {"zip": in_zip, "legacy": in_legacy}


@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.parametrize("place", ["alone", "in a module", "as a name", "in a list of arguments"])
@pytest.mark.parametrize("function", ["os.system", "eval", "open", "import", "getattr"])
def test_a_call_is_refused_wherever_it_stands(
    function: str, place: str, packaging: str, package: ModuleType, tmp_path: Path
) -> None:
    marker = tmp_path / "it ran"
    evil = {
        "os.system": Calls(os.system, f"touch '{marker}'"),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w')"),
        "open": Calls(open, str(marker), "w"),
        "import": Calls(__import__, "models"),
        "getattr": Calls(getattr, nn.Module, "__subclasses__"),
    }[function]
    network = package.GeneratorJ()
    network.attribute, network.act = (evil, nn.ReLU()) if place == "in a module" else (None, None)
    things = {"alone": evil, "in a module": network, "as a name": OrderedDict({"a": evil})}
    thing = things.get(place, [Calls(set, [Calls(OrderedDict, [("a", evil)])])])
    buffer = io.BytesIO()
    program = pickle.Pickler(buffer, protocol=2)
    program.persistent_id = lambda value: (  # type: ignore[method-assign]
        ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(value, torch.storage.TypedStorage) else None
    )
    program.dump(thing)
    (tmp_path / "file.pth").write_bytes(PACKAGINGS[packaging](buffer.getvalue()))
    forget(tmp_path)
    with pytest.raises(UnsafeCheckpointError, match=r"asks for (posix|nt|__builtin__|_?io)\..*nothing of it was run"):
        read_whole_module(tmp_path / "file.pth")
    assert_no_trace(tmp_path)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


EVIL = b"\x80\x02cmodels\nEvil\n"
OBJECT = EVIL + b")\x81"
DETOURS = {
    "REDUCE of a class": (EVIL + b")R.", UnsafeCheckpointError),
    "INST": (b"(imodels\nEvil\n.", CheckpointError),
    "INST with an argument": (b"(K\x01imodels\nEvil\n.", UnsafeCheckpointError),
    "OBJ": (b"(cmodels\nEvil\no.", CheckpointError),
    "NEWOBJ_EX": (b"\x80\x04cmodels\nEvil\n)}\x92.", CheckpointError),
    "a state for __setstate__": (OBJECT + b"}" + text("a") + b"K\x01sb.", CheckpointError),
    "a state that is the class itself": (OBJECT + b"}" + text("__setstate__") + EVIL[2:] + b"sb}b.", CheckpointError),
    "another class for an object": (
        OBJECT + b"N}" + text("__class__") + b"cos\nsystem\ns\x86b.",
        UnsafeCheckpointError,
    ),
    "copyreg": (b"\x80\x02ccopyreg\n_reconstructor\n(cmodels\nEvil\ncbuiltins\nobject\nNtR.", UnsafeCheckpointError),
    "a function of models": (b"\x80\x02cmodels\npathlib.Path\n" + text("called") + b"\x85R.", UnsafeCheckpointError),
    "a function of torch": (b"\x80\x02ctorch.hub\nload\n)R.", UnsafeCheckpointError),
    "a function below torch.nn": (
        b"\x80\x02ctorch.nn\nfunctional.os.system\n" + text("x") + b"\x85R.",
        UnsafeCheckpointError,
    ),
    "source that has changed": (
        b"\x80\x02(" + text("module") + b"cmodels\nEvil\n" + text("/etc/passwd") + text("print(1)") + b"tQ)\x81.",
        CheckpointError,
    ),
    "a patch file": (
        EVIL + b"N}" + text("dump_patches") + b"\x88s\x86b0(" + text("module") + b"cmodels\nEvil\n" + text("a")
        + text("b") + b"tQ.",
        UnsafeCheckpointError,
    ),
    "another persistent thing": (b"\x80\x02(" + text("file") + text("/etc/passwd") + b"tQ.", CheckpointError),
}  # fmt: skip


@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.parametrize("detour", DETOURS)
def test_detours_are_closed_and_leave_no_trace(
    detour: str, packaging: str, package: ModuleType, tmp_path: Path
) -> None:
    program, error = DETOURS[detour]
    (tmp_path / "file.pth").write_bytes(PACKAGINGS[packaging](program))
    forget(tmp_path)
    with pytest.raises(error):
        read_whole_module(tmp_path / "file.pth")
    assert_no_trace(tmp_path)


def test_extensions_of_pickle_that_a_program_registered_are_refused(package: ModuleType, tmp_path: Path) -> None:
    copyreg.add_extension("os", "getcwd", 77)
    try:
        pickle.loads(b"\x80\x02\x82\x4d.")  # fills the cache, which asks no find_class
        (tmp_path / "file.pth").write_bytes(in_zip(b"\x80\x02\x82\x4d)R."))
        with pytest.raises(UnsafeCheckpointError, match="extension"):
            read_whole_module(tmp_path / "file.pth")
    finally:
        copyreg.remove_extension("os", "getcwd", 77)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_what_a_file_is_given_cannot_be_changed_by_it(name: str, package: ModuleType, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    given = f"c{module}\n{attribute}\n".encode()
    for key in ("dtype", "__call__", "marker", "__setstate__"):
        for state in (b"}" + text(key) + b"K\x01s", b"N}" + text(key) + b"K\x01s\x86", b"K\x01K\x02\x86"):
            (tmp_path / "file.pth").write_bytes(in_zip(b"\x80\x02" + given + state + b"b."))
            with pytest.raises(CheckpointError):
                read_whole_module(tmp_path / "file.pth")
    assert not hasattr(ALLOWED[name], "marker")
    save(package.GeneratorJ(), tmp_path / "file.pth")
    assert len(read_whole_module(tmp_path / "file.pth")) == len(package.GeneratorJ().state_dict())


def module_of(parameters: bytes = b"}", modules: bytes = b"}") -> bytes:
    """The program of a module; what it holds is given as programs too."""
    state = b"}(" + text("_parameters") + parameters + text("_modules") + modules + b"u"
    return b"cmodels\nGeneratorJ\n)\x81" + state + b"b"


def tensor_of(offset: int, size: tuple[int, ...], stride: tuple[int, ...], numel: int = 4) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(f"L{value}L\n".encode() for value in values) + b"t"

    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + f"L{numel}L\n".encode() + b"tQ"
    )
    inside = storage + f"L{offset}L\n".encode() + numbers(size) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + inside + b"\x89}tR"


@pytest.mark.parametrize(
    ("offset", "size", "stride", "numel"),
    [
        (1, (4,), (1,), 4),
        (0, (2, 3), (3, 1), 4),
        (-1, (2,), (1,), 4),
        (0, (2,), (-1,), 4),
        (0, (10**12,), (0,), 4),  # would take terabytes
        (0, (-2, -2), (1, 1), 4),
        (0, (2, 2), (1,), 4),
        (2**70, (1,), (1,), 4),
        (0, (4,), (1,), 5),  # more numbers than the file has
        (0, (4,), (1,), 10**15),
    ],
)
@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_tensor_that_does_not_fit_into_its_numbers_is_an_error(
    packaging: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...], numel: int, tmp_path: Path
) -> None:
    def write(*tensor: Any) -> None:
        program = b"\x80\x02" + module_of(b"}" + text("weight") + tensor_of(*tensor) + b"s") + b"."
        (tmp_path / "file.pth").write_bytes(PACKAGINGS[packaging](program))

    write(1, (3,), (1,), 4)
    assert read_whole_module(tmp_path / "file.pth")["weight"].tolist() == [2, 3, 4]
    write(offset, size, stride, numel)
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        read_whole_module(tmp_path / "file.pth")


LOOPS = {
    "a module that holds itself": module_of() + b"q\x01}" + text("_modules") + b"}" + text("a") + b"h\x01ssb",
    "modules that double 60 times": b"".join(
        module_of(modules=b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"u" if i else b"}")
        + b"q" + bytes([i + 1]) + b"0"
        for i in range(60)
    ) + b"h\x3c",
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_modules_that_hold_each_other_end_in_an_error(loop: str, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(in_zip(b"\x80\x02" + LOOPS[loop] + b"."))
    with pytest.raises(CheckpointError, match="hold each other"):
        read_whole_module(tmp_path / "file.pth")


@pytest.mark.parametrize("entry", [b"r\xff\xff\xff\x7f", b"p999999999\n"])
def test_a_memo_that_would_take_all_memory_is_refused(entry: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(in_zip(b"\x80\x02]" + entry + b"."))
    with pytest.raises(CheckpointError, match="of its memo follows 3 opcodes"):
        read_whole_module(tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="of its memo follows 3 opcodes"):
        restricted_loads(b"\x80\x02]" + entry + b".")


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of a damaged text in the pickle
@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_errors_of_this_package_or_give_their_weights(
    legacy: bool, package: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "file.pth"
    save(package.GeneratorJ(), path, legacy)
    data = path.read_bytes()
    for cut in range(1, len(data), len(data) // 60):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError):
            read_whole_module(path)
    survived = 0
    for position in range(0, len(data), len(data) // 150):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            read_whole_module(path)
            survived += 1
        except CheckpointError:
            pass
    assert survived < 150
    assert_no_trace(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, "holds a dict where a whole module was expected"),
        ([nn.Linear(1, 1)], "holds a list"),
        (nn.ReLU(), "torch.nn.modules.activation.ReLU, has no weights"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_something_else_says_what_it_holds(
    legacy: bool, content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_whole_module(tmp_path / "file.pth")
    assert "file.pth" in str(caught.value)
    assert not isinstance(caught.value, UnsafeCheckpointError)


def test_a_missing_file_and_a_plain_pickle_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        read_whole_module(tmp_path / "absent.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="plain pickle"):
        read_whole_module(tmp_path / "plain.pkl")
