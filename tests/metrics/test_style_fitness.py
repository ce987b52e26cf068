# SPDX-License-Identifier: Apache-2.0
"""Which styles are called unfit, and for what."""

from __future__ import annotations

import math
from typing import Any

import pytest

from staticdropout.metrics.style_fitness import StyleLimits, StyleMeasures, find_faults, pair_correlations


def measures(name: str = "a", **changes: Any) -> StyleMeasures:
    fit: dict[str, Any] = {"hellinger": 0.9, "flow_error": 0.2, "flow_ratio": 1.2, "flicker": 1.5, "still_flicker": 0.5}
    fit |= {"correlations": {"source": 0.3}}
    return StyleMeasures(name, **{**fit, **changes})


@pytest.mark.parametrize(
    ("changes", "measure", "said"),
    [
        ({"hellinger": 0.49}, "hellinger", "0.49 from the source's, at least 0.5"),
        ({"flow_ratio": 2.1, "flow_error": 0.42}, "flow_ratio", "0.42 px, 2.1 times"),
        ({"still_flicker": 3.2}, "still_flicker", "3.2 times"),
        ({"correlations": {"source": 0.71}}, "correlation", "r = 0.71 with the source"),
    ],
)
def test_each_measure_is_told_with_its_value_its_limit_and_what_to_do(
    changes: dict[str, Any], measure: str, said: str
) -> None:
    assert find_faults([measures()]) == []
    (fault,) = find_faults([measures(**changes)])
    assert (fault.style, fault.measure) == ("a", measure)
    assert said in fault.text


def test_a_value_at_its_limit_is_fit_and_an_unknown_one_is_no_fault() -> None:
    limits = StyleLimits()
    at: dict[str, Any] = {
        "hellinger": limits.hellinger,
        "flow_ratio": limits.flow_ratio,
        "still_flicker": limits.still_flicker,
    }
    assert find_faults([measures(**at, correlations={"source": limits.correlation})]) == []
    unknown: dict[str, Any] = dict.fromkeys(("hellinger", "flow_ratio", "flicker", "still_flicker"), math.nan)
    assert find_faults([measures(**unknown, correlations={"source": math.nan})]) == []


def test_a_style_that_does_not_change_where_the_source_does_is_unfit() -> None:
    source = measures("source + noise", flicker=1.0, correlations={"source": 1.0})
    silent = measures(flicker=math.nan, still_flicker=math.nan, correlations={"source": math.nan})
    dull = measures(correlations={"source": math.nan})
    for style, measure, said in (
        (silent, "flicker", "same picture for every frame: it changes 0.00 times"),
        (measures(flicker=0.01), "flicker", "it changes 0.01 times"),
        (dull, "correlation", "same picture whatever the clip"),
    ):
        (fault,) = find_faults([style], StyleLimits(correlation=math.inf, flow_ratio=math.inf), source)
        assert (fault.measure, said in fault.text) == (measure, True)
    still = measures("source + noise", flicker=math.nan, correlations={"source": math.nan})
    assert find_faults([silent], source=still) == find_faults([dull], source=still) == []
    assert find_faults([measures(flicker=StyleLimits().flicker)], source=source) == []


def test_the_set_is_judged_by_the_mean_over_its_pairs_and_the_worst_pair_is_named() -> None:
    def three(ab: float, ac: float, bc: float) -> list[StyleMeasures]:
        pairs = {"a": {"b": ab, "c": ac}, "b": {"a": ab, "c": bc}, "c": {"a": ac, "b": bc}}
        return [measures(name, correlations=others) for name, others in pairs.items()]

    assert pair_correlations(three(0.9, 0.2, 0.3)) == {("a", "b"): 0.9, ("a", "c"): 0.2, ("b", "c"): 0.3}
    assert find_faults(three(0.9, 0.2, 0.3)) == []
    (fault,) = find_faults(three(0.9, 0.4, 0.5))
    assert fault.style == ""
    assert "mean r = 0.60 over 3 pairs" in fault.text
    assert "a and b (r = 0.90)" in fault.text
    assert find_faults(three(0.9, 0.4, 0.5), StyleLimits(correlation=math.inf)) == []


def test_the_table_of_opencv_s_filters_is_flagged_and_that_of_the_default_set_is_not() -> None:
    """Values measured over seven clips with a network of ImageNet; a turn of hue is caught by the network alone."""
    floor = 0.197
    table = {  # colour distance, error of flow, flicker, r with the source
        "paint": (0.97, 0.245, 0.55, 0.24), "chalk": (0.87, 0.275, 1.51, 0.21), "neon": (0.94, 0.192, 1.75, 0.42),
        "relief": (0.94, 0.246, 0.83, 0.18), "hue": (0.75, 0.189, 1.00, 0.71), "canvas": (0.69, 2.32, 0.55, 0.06),
        "stylization": (0.26, 0.427, 1.30, 0.35), "pencil": (0.59, 0.450, 2.81, 0.27),
        "smooth": (0.21, 0.479, 0.65, 0.61), "detail": (0.20, 0.197, 1.87, 0.78),
    }  # fmt: skip
    rows = [
        measures(name, hellinger=h, flow_error=e, flow_ratio=e / floor, flicker=f, correlations={"source": r})
        for name, (h, e, f, r) in table.items()
    ]
    flagged = {(fault.style, fault.measure) for fault in find_faults(rows)}
    assert flagged == {
        ("hue", "correlation"), ("canvas", "flow_ratio"), ("stylization", "hellinger"), ("stylization", "flow_ratio"),
        ("pencil", "flow_ratio"), ("smooth", "hellinger"), ("smooth", "flow_ratio"), ("smooth", "correlation"),
        ("detail", "hellinger"), ("detail", "correlation"),
    }  # fmt: skip
