# SPDX-License-Identifier: Apache-2.0
"""The house itself: who imports whom, docstrings that run, a wheel that holds everything."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import staticdropout

ROOT = Path(staticdropout.__file__).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]
MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.iter_modules([str(ROOT.joinpath(*package.split(".")[1:]))], f"{package}.")
    if not module.ispkg and not module.name.endswith("__main__")
)

# What a room may import, besides itself: DESIGN's "each line only what stands to its right or below it".
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "metrics": {"errors", "files"},
    "perturbations": {"errors", "files"},
    "visualization": {"errors", "files"},
    "models": {"errors", "files", "metrics", "perturbations"},
    "callbacks": {"errors", "files", "metrics", "models", "perturbations", "visualization"},
    "datamodules": {"errors", "files", "metrics", "models", "perturbations", "visualization"},
    "lightning_modules": {"errors", "files", "metrics", "models", "perturbations", "visualization", "callbacks"},
}
WITHOUT_LIGHTNING = ("errors", "files", "metrics", "models", "perturbations", "visualization")


def imports_of(module: str) -> set[str]:
    """Absolute names of everything that a module imports, also inside functions."""
    path = Path(importlib.util.find_spec(module).origin)  # type: ignore[union-attr, arg-type]
    parts = module.split(".")
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level] if node.level else []
            names.add(".".join([*base, *([node.module] if node.module else [])]))
            if not node.module:
                names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[1] in MAY_IMPORT])
def test_rooms_import_only_what_stands_below_them(module: str) -> None:
    room = module.split(".")[1]
    imported = imports_of(module)
    rooms = {name.split(".")[1] for name in imported if name.startswith("staticdropout.")}
    assert rooms <= MAY_IMPORT[room] | {room}, f"{module} imports {rooms}"
    if room in WITHOUT_LIGHTNING:
        assert not {name for name in imported if name.split(".")[0] in ("lightning", "pytorch_lightning")}


def test_the_list_of_packages_is_the_tree() -> None:
    skip = {"tests", "benchmarks", "examples", "docs", "build", "configs"}
    found = {"staticdropout"} | {
        "staticdropout." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.rglob("__init__.py")
        if path.parent != ROOT
        and path.relative_to(ROOT).parts[0] not in skip
        and not any(part.startswith(".") or part == "venv" for part in path.relative_to(ROOT).parts)
    }
    assert found == set(PACKAGES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def public_things(module: ModuleType) -> list[tuple[str, object]]:
    return [(name, getattr(module, name)) for name in getattr(module, "__all__", ())]


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_declared_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert hasattr(module, "__all__"), f"{name} has no __all__"
    for label, thing in public_things(module):
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{name}.{label} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_face_imports_nothing_heavy_until_it_is_used() -> None:
    code = (
        "import sys, staticdropout; assert 'torch' not in sys.modules; "
        "staticdropout.BiasMonitor, staticdropout.StaticDropout; assert 'lightning' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wrong_name_of_the_face_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = staticdropout.Nothing


def test_a_wheel_holds_every_module_and_config_and_imports_from_anywhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to the source is not known")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*build, "--outdir", str(tmp_path / "dist"), str(source)], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    expected = {name.replace(".", "/") + ".py" for name in MODULES} | {"staticdropout/py.typed"}
    expected |= {f"staticdropout/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert expected <= names
    assert not [name for name in names if "tests/" in name or "benchmarks/" in name]
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import importlib, staticdropout; "
        f"assert staticdropout.__file__.startswith({str(tmp_path)!r}); "
        f"[importlib.import_module(name) for name in {[*PACKAGES, *MODULES]!r}]; "
        "from staticdropout.config_files import find_config; find_config('demo')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
