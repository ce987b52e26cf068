# SPDX-License-Identifier: Apache-2.0
"""How well Eq. 1 and Eq. 3 recover a known truth, and how often their 95 % intervals hold it.

Layers with known population scores (``parts/recovery_layers.py``) are measured on samples of clips with the package's
own functions, a few hundred times each. For every quantity: its truth (for infinitely many clips of that distribution),
mean estimate, bias, root mean square error, mean half-width of the 95 % interval, and coverage: how often the interval
held the truth. For percentages of units also half-width and coverage of a plain jackknife, to compare.

Studies: ``clips`` (clips x units, and units that err together), ``layer`` (kinds of layers and of answers),
``groups`` (number of groups of clips), ``threshold`` (λ), ``videos`` (several clips of one video, grouped by clip or
by video), ``network`` (videos through a network whose units are known, with the real triplets;
``parts/recovery_network.py``), ``pairs`` (correlation within pairs of styles: an estimator that the package does not
have). Writes ``recovery.csv`` and ``recovery_sides.csv`` (how often a score falls on the right side of λ, by its
distance from λ); ``--figures`` draws them for ``docs/measure.md`` and fills that page's tables.

    python benchmarks/recovery.py [--repetitions 300] [--workers 2] [--studies clips groups ...] [--figures]
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from pages import fill_page
from parts.common import RESULTS, HelpFormatter, environment, report
from parts.recovery_layers import layer
from parts.recovery_network import network_rows
from parts.recovery_page import draw_figures, tables
from parts.recovery_pairs import pair_rows
from parts.recovery_rows import Case, rounded, summary
from torch import Tensor

from staticdropout.metrics import ENCODINGS, encode_units, pair_moments
from staticdropout.metrics.bias import Estimator, layer_bias, unit_scores
from staticdropout.metrics.encodings import unit_percentages
from staticdropout.metrics.intervals import jackknife_interval, leave_one_out

STUDIES = ("clips", "layer", "groups", "threshold", "videos", "network", "pairs")
SHARES = ("static", "dynamic", "identical")
DISTANCES = (0.0, 0.02, 0.05, 0.1, 0.2, 1.0)


def cases(studies: Sequence[str]) -> list[Case]:
    """All cases of the studies."""
    both: tuple[Estimator, ...] = ("paper", "released")
    clips, more = (30, 100, 300, 1000, 3000), {"shared": 0.5}
    found = [Case("clips", "spread", units, n, estimators=both) for n in clips for units in (16, 512, 2048)]
    found += [Case("clips", "spread", 256, n, estimators=both, options=more) for n in clips]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("spread", {}), ("noisy", {}), ("style", {}), ("clear", {}), ("static", {}), ("at λ", {}),
        ("crowd 0.6", {}), ("crowd 0.55", {}), ("spread", {"shared": 0.0}), ("spread", {"shared": 0.5}),
        ("spread", {"shape": "relu"}), ("static", {"shape": "relu"}),
        ("spread", {"shape": "lognormal"}), ("static", {"shape": "lognormal"}),
    ]  # fmt: skip
    found += [Case("layer", kind, 256, n, options=o) for kind, o in kinds for n in (100, 1000)]
    found += [Case("groups", kind, 256, 200, groups=g) for kind in ("spread", "static") for g in (2, 5, 10, 20, 50)]
    found += [Case("threshold", "spread", 256, n, threshold=t) for n in (100, 1000) for t in (0.3, 0.5, 0.7)]
    videos = {"cluster": 5, "likeness": 0.8}
    found += [
        Case("videos", "spread", 256, n, grouping=g, options=videos) for n in (300, 1000) for g in ("clip", "video")
    ]
    return [case for case in found if case.study in studies]


def measure(case: Case, repetitions: int, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a case: by quantity, and by distance from λ."""
    torch.set_num_threads(1)
    truth = layer(case.kind, case.units, **case.options)
    index = torch.arange(case.clips)
    if case.grouping == "video":
        index = index // truth.cluster
    index = index % case.groups
    rows: dict[str, list[Tensor]] = {}
    right = torch.zeros(2, case.units)
    sides = truth.scores() > case.threshold
    encoding = encode_units(truth.scores(), case.threshold)
    for repetition in range(repetitions):
        generator = torch.Generator().manual_seed(1_000_003 * seed + repetition)
        anchor, *others = truth.draw(case.clips, generator)
        groups = torch.stack([pair_moments(anchor, other, index, case.groups) for other in others], dim=1)
        for estimator in case.estimators:
            bias = layer_bias(groups, estimator, case.threshold)
            for name, value, half in zip(SHARES, bias.shares, bias.shares_interval, strict=True):
                rows.setdefault(f"{name} share, {estimator}", []).append(torch.stack([value, half]))
            if estimator == "paper":
                percentages = unit_percentages(encode_units(unit_scores(leave_one_out(groups)).score, case.threshold))
                plain = jackknife_interval(percentages[1:])
                for name, *numbers in zip(ENCODINGS, bias.units, bias.units_interval, plain, strict=True):
                    rows.setdefault(f"{name} units", []).append(torch.stack(numbers))
                rows.setdefault("units in the right class", []).append(
                    100 * (bias.encoding == encoding).double().mean(0, keepdim=True)
                )
                right += (bias.unit_scores > case.threshold) == sides
    known = {f"{name} units": value for name, value in zip(ENCODINGS, truth.units(case.threshold), strict=True)}
    known |= {
        f"{name} share, {estimator}": value
        for estimator in case.estimators
        for name, value in zip(SHARES, truth.shares(estimator), strict=True)
    }
    return (
        [{**case.about(), **summary(name, known.get(name), torch.stack(values))} for name, values in rows.items()],
        by_distance(case, (truth.scores() - case.threshold).abs(), right / repetitions),
    )


def by_distance(case: Case, distance: Tensor, right: Tensor) -> list[dict[str, Any]]:
    """How often a score falls on the right side of λ, by its distance from λ."""
    rows = []
    for low, high in itertools.pairwise(DISTANCES):
        within = (distance >= low) & (distance < high)
        if within.any():
            about = {**case.about(), "from": low, "to": high, "scores": int(within.sum())}
            rows.append({**about, "right": rounded(100 * right[within].mean())})
    return rows


def main() -> None:
    """Run the studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--repetitions", type=int, default=300, help="samples of clips for every case")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES), help="of the studies above")
    parser.add_argument("--figures", action="store_true", help="also draw the figures and fill the tables of the page")
    parser.add_argument("--only-figures", action="store_true", help="do that with the CSVs that are there, no more")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the CSVs")
    args = parser.parse_args()
    if args.only_figures:
        page(args.output)
        return
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    sides: list[dict[str, Any]] = []
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        # The longest first, so that no worker is left with one at the end.
        everything = cases(args.studies)
        todo = sorted(range(len(everything)), key=lambda n: -everything[n].clips * everything[n].units)
        first = [pool.submit(network_rows, args.repetitions)] if "network" in args.studies else []
        futures = {n: pool.submit(measure, everything[n], repetitions(everything[n], args.repetitions)) for n in todo}
        last = [pool.submit(pair_rows, args.repetitions)] if "pairs" in args.studies else []
        for number, case in enumerate(everything):
            of_case, of_sides = futures[number].result()
            rows += of_case
            sides += of_sides if case.study == "clips" else []
        rows += [row for future in (*first, *last) for row in future.result()]
    about = environment("cpu", precision="float64 moments of float32 features", layout="(clips, units)", input="drawn")
    report(rows, about, args.output / "recovery.csv")
    if sides:
        report(sides, about, args.output / "recovery_sides.csv")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    if args.figures:
        page(args.output)


def page(results: Path) -> None:
    """Bring figures and tables of ``docs/measure.md`` up to date."""
    docs = Path(__file__).parents[1] / "docs"
    draw_figures(results, docs / "images")
    fill_page(docs / "measure.md", tables(results))


def repetitions(case: Case, wanted: int) -> int:
    """Fewer for the largest cases, which take minutes."""
    return max(1, wanted // max(1, math.ceil(case.clips * case.units / 2**21)))


if __name__ == "__main__":
    main()
