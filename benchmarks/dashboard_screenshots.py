# SPDX-License-Identifier: Apache-2.0
r"""Open the TensorBoard of a run in headless Chromium and take pictures of its pages.

Starts ``tensorboard`` on a free port and Chromium (Debian's ``chromium``, or the command in ``CHROMIUM``) with a fresh
profile, waits until every chart and picture of a page is drawn, and writes one PNG a page and theme. The pictures in
``docs/images`` are made by:

    lightning fit --config configs/demo.yaml
    python benchmarks/dashboard_screenshots.py --logdir runs/demo --out docs/images \
        --pages custom_scalars --themes light
    python benchmarks/dashboard_screenshots.py --logdir runs/demo --out docs/images \
        --pages images --themes light --size 1230 1790
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts.common import HelpFormatter
from parts.dashboard_browser import Browser, tensorboard

PAGES = ("custom_scalars", "scalars", "timeseries", "images", "text")
EMPTY = ("No dashboards are active", "No data found", "No text data was found", "No image data was found", "no data")


LEAST = {"custom_scalars": (0, 2), "timeseries": (0, 1), "images": (1, 0)}
"""Pictures, and colours of lines, that a loaded page has at least."""


def show(
    browser: Browser,
    address: str,
    page: str,
    expected: Sequence[str] = (),
    images: int = 0,
    strokes: int = 0,
    still: float = 0.3,
) -> dict[str, Any]:
    """Open a page of TensorBoard, and wait until it shows what is expected and does not change any more.

    Args:
        browser: that opens it.
        address: of TensorBoard.
        page: one of ``PAGES``, with options behind ``&``.
        expected: texts that have to be there.
        images: how many pictures have to be drawn.
        strokes: how many colours of lines.
        still: seconds for which nothing changes.

    Raises:
        TimeoutError: naming what does not appear within a minute.
    """
    browser.open(f"{address}/?forceSVG=true#{page}")  # lines in the DOM, not in a WebGL canvas that is drawn any time
    before: dict[str, Any] = {}
    changed = time.monotonic()
    end = changed + 60
    while True:
        time.sleep(0.3)
        seen = browser.read() if browser.evaluate("!!document.body") else {}
        if seen:
            text = "\n".join(seen["text"])
            missing = [part for part in expected if part not in text]
            enough = seen["images"] >= images and len(seen["strokes"]) >= strokes
            if seen != before:
                changed = time.monotonic()
            elif seen["text"] and enough and not missing and not seen["busy"] and time.monotonic() - changed >= still:
                return seen
            if time.monotonic() > end:
                raise TimeoutError(f"{page} lacks {missing}, {images} images or {strokes} strokes: {seen}")
        before = seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--logdir", type=Path, required=True, help="of one training, or of several to compare")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder of the pictures")
    parser.add_argument("--pages", nargs="+", default=list(PAGES), choices=PAGES, help="pages of TensorBoard")
    parser.add_argument("--themes", nargs="+", default=["light", "dark"], choices=["light", "dark"], help="a PNG each")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[1230, 1115], metavar=("WIDTH", "HEIGHT"), help="of the window, in pixels"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="2 for twice as many pixels")
    options = parser.parse_args()
    with tensorboard(options.logdir) as address, Browser(options.size[0], options.size[1], options.scale) as browser:
        for theme in options.themes:
            browser.theme(theme)
            for page in options.pages:
                images, strokes = LEAST.get(page, (0, 0))
                show(browser, address, page, images=images, strokes=strokes, still=2)
                suffix = "" if options.themes == ["light"] else f"_{theme}"
                print(browser.screenshot(options.out / f"dashboard_{page}{suffix}.png"))


if __name__ == "__main__":
    main()
