# SPDX-License-Identifier: Apache-2.0
"""TensorBoard, opened in a browser, shows the curves, figures and texts of a training, in light and in dark.

The pictures that the tests take are kept where ``STATICDROPOUT_SCREENSHOTS`` says.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dashboard_screenshots import EMPTY, show
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from parts.dashboard_browser import Browser, chromium, tensorboard
from PIL import Image, ImageColor
from toys import fit

from staticdropout.callbacks import BiasMonitor, StaticDropout
from staticdropout.visualization import COLORS

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"),
]

LAYERS = ["backbone.layer*", "backbone.fc[input]"]
TAGS = ["backbone.layer1", "backbone.layer2", "backbone.fc.input"]
FIGURES = ["curves", "encoding_curves", "encodings", "layers", "triplets", "units"]
SHARES = "Static and dynamic share of each layer (%), with 95 % intervals"
UNITS = "Units that encode static or dynamic alone (%), with 95 % intervals"
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings: one with figures and StaticDropout, and one without either to compare it with."""
    folder = tmp_path_factory.mktemp("logs")
    for name, callbacks in (("with", [StaticDropout(rate=0.5, every_n_steps=1)]), ("without", [])):
        monitor = BiasMonitor(LAYERS, num_clips=24, num_groups=4, figures=name == "with", verbose=False)
        logger = TensorBoardLogger(folder, name="", version=name)
        fit(folder / name, [*callbacks, monitor], logger=logger, max_epochs=1, val_check_interval=3)
    return folder


@pytest.fixture(scope="module")
def address(logs: Path) -> Iterator[str]:
    """The TensorBoard of the first training."""
    with tensorboard(logs / "with") as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(1400, 1500) as opened:
        yield opened


def taken(browser: Browser, tmp_path: Path, name: str) -> NDArray[np.uint8]:
    """The window as pixels, also kept as a file."""
    folder = Path(os.environ.get("STATICDROPOUT_SCREENSHOTS", tmp_path))
    return np.asarray(Image.open(browser.screenshot(folder / f"{name}.png")).convert("RGB"))


def pixels_of(picture: NDArray[np.uint8], color: str) -> int:
    """How many pixels have exactly this colour."""
    return int((picture == ImageColor.getrgb(color)).all(-1).sum())


def check_page(picture: NDArray[np.uint8], text: list[str], theme: str) -> None:
    """Something is there, in the theme that was asked for."""
    assert not [part for part in EMPTY if part in "\n".join(text)]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    brightness = np.median(picture[-200:, 20:200])  # the left column, where nothing is drawn
    assert brightness > 200 if theme == "light" else brightness < 80


def cards(browser: Browser) -> list[list[str]]:
    """What stands on each card of the time series."""
    script = "[...document.querySelectorAll('card-view')].map(card => card.innerText.split('\\n'))"
    return [[line.strip() for line in card if line.strip()] for card in browser.evaluate(script)]


def after(text: list[str], title: str) -> list[str]:
    """The text behind a title."""
    return text[text.index(title) + 1 :]


@pytest.mark.parametrize("theme", THEMES)
def test_custom_scalars_show_static_and_dynamic_of_a_layer_in_one_chart_and_two_colours(
    browser: Browser, address: str, tmp_path: Path, theme: str
) -> None:
    browser.theme(theme)
    seen = show(browser, address, "custom_scalars", [SHARES, UNITS, *TAGS, "Matches (2)"])
    picture = taken(browser, tmp_path, f"custom_scalars_{theme}")
    check_page(picture, seen["text"], theme)
    shares = after(seen["text"], SHARES)
    shares = shares[: shares.index(UNITS)]
    assert [part for part in shares if part in TAGS] == TAGS  # TensorBoard shows bands in reverse, and so are they laid
    assert shares.count("Matches (2)") == len(TAGS)
    assert [part for part in seen["text"] if part in (".", "dynamic", "static")] == [".", "dynamic", "static"]
    assert {"rgb(0, 119, 187)", "rgb(204, 51, 17)"} <= set(seen["strokes"])
    for factor in ("static", "dynamic"):
        assert pixels_of(picture, COLORS[factor]) > 200, factor


def test_static_dropout_has_charts_of_its_own(browser: Browser, address: str, tmp_path: Path) -> None:
    browser.theme("light")
    browser.resize(1400, 2600)
    titles = ["StaticDropout: is the rule at work?", "largest / smallest probability", "share of channels dropped"]
    seen = show(browser, address, "custom_scalars", [SHARES, *titles, "Matches (1)"])
    taken(browser, tmp_path, "custom_scalars_static_dropout")
    browser.resize(1400, 1500)
    assert seen["text"].count("Matches (1)") == 5


@pytest.mark.parametrize("theme", THEMES)
def test_scalars_open_with_static_and_dynamic_of_a_layer_in_one_chart(
    browser: Browser, address: str, tmp_path: Path, theme: str
) -> None:
    browser.theme(theme)
    seen = show(browser, address, "scalars", ["bias/backbone.fc.input", "bias/backbone.layer1"], strokes=2)
    picture = taken(browser, tmp_path, f"scalars_{theme}")
    check_page(picture, seen["text"], theme)
    groups = after(seen["text"], "Filter tags (regular expressions supported)")
    assert groups[0] == "bias"
    assert next(part for part in groups if "/" in part) == "bias/backbone.fc.input"
    assert {"rgb(0, 119, 187)", "rgb(204, 51, 17)"} <= set(seen["strokes"])


@pytest.mark.parametrize("theme", THEMES)
def test_time_series_begin_with_static_and_dynamic_of_a_layer(
    browser: Browser, address: str, tmp_path: Path, theme: str
) -> None:
    browser.theme(theme)
    seen = show(browser, address, "timeseries", ["bias/backbone.fc.input", "bias/backbone.layer1"], strokes=3)
    check_page(taken(browser, tmp_path, f"timeseries_{theme}"), seen["text"], theme)
    first, second = cards(browser)[:2]
    assert "".join(first).startswith("bias/backbone.fc.input")
    assert {"dynamic", "static"} <= set(first)
    assert "bias/backbone.fc.input/dynamic" in "".join(second)


@pytest.mark.parametrize("theme", THEMES)
def test_images_show_every_figure_in_the_two_colours_on_a_light_card(
    browser: Browser, address: str, tmp_path: Path, theme: str
) -> None:
    browser.theme(theme)
    tags = [f"bias_figures/{name}" for name in FIGURES]
    seen = show(browser, address, "images", tags, images=len(tags))
    picture = taken(browser, tmp_path, f"images_{theme}")
    check_page(picture, seen["text"], theme)
    assert seen["images"] == len(FIGURES)
    for factor in ("static", "dynamic"):
        assert pixels_of(picture, COLORS[factor]) > 500, factor
    assert pixels_of(picture, "#ffffff") > 300_000


def test_the_text_says_what_the_numbers_mean_and_how_they_were_measured(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    browser.theme("dark")
    seen = show(browser, address, "text", ["What the numbers mean", "paint, chalk, neon, relief", "estimator"])
    check_page(taken(browser, tmp_path, "text_dark"), seen["text"], "dark")


def test_two_trainings_are_compared_in_the_same_charts(browser: Browser, logs: Path, tmp_path: Path) -> None:
    browser.theme("light")
    with tensorboard(logs) as address:
        seen = show(browser, address, "custom_scalars", [SHARES, "with/static", "without/dynamic", "Matches (4)"])
        taken(browser, tmp_path, "two_trainings_custom_scalars")
        shares = after(seen["text"], SHARES)
        assert shares[: shares.index(UNITS)].count("Matches (4)") == len(TAGS)
        show(browser, address, "timeseries", ["bias/backbone.fc.input", "without/static"], strokes=5)
        taken(browser, tmp_path, "two_trainings_timeseries")
        of_both, of_dynamic = cards(browser)[:2]
        assert {"with/dynamic", "with/static", "without/dynamic", "without/static"} <= set(of_both)
        assert {"with", "without"} <= set(of_dynamic)
