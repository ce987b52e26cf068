# SPDX-License-Identifier: Apache-2.0
"""What tells measurements apart that must not be compared: estimator, styles, protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ("alike", "differences", "measure_of")

Record = Mapping[str, Any]


def measure_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that two numbers must share to be compared, as plain values.

    Seeds and numbers of clips are not among them: they change a number by chance alone, which its interval covers.

    Args:
        settings: of a BiasMonitor.

    Example:
        >>> measure_of({"estimator": "paper", "triplets": "VideoTriplets", "style_hash": "ab", "seed": 1})
        {'estimator': 'paper', 'protocol': 'VideoTriplets', 'style_hash': 'ab'}
    """
    measure = {name: settings[name] for name in ("estimator", "threshold") if name in settings}
    measure["protocol"] = str(settings.get("protocol", settings.get("triplets", "custom")))
    for name in ("style_set", "style_hash", "flow"):
        if name in settings:
            measure[name] = settings[name]
    if settings.get("oddities"):
        measure["oddities"] = "+".join(settings["oddities"])
    if "jitter" in settings:
        jitter = settings["jitter"]
        measure["jitter"] = str(jitter["mode"] if isinstance(jitter, Mapping) else jitter)
    return measure


def differences(first: Record, second: Record) -> list[str]:
    """In what two measurements must not be compared, as sentences; empty where they may be.

    Args:
        first: a record of a BiasMonitor.
        second: another one.

    Example:
        >>> a = {"measure": {"estimator": "paper", "protocol": "VideoTriplets"}}
        >>> b = {"measure": {"estimator": "released", "protocol": "VideoTriplets"}}
        >>> differences(a, b)
        ["estimator: 'paper' and 'released'"]
    """
    ours, theirs = first.get("measure", {}), second.get("measure", {})
    names = dict.fromkeys([*ours, *theirs])
    return [
        f"{name}: {ours.get(name)!r} and {theirs.get(name)!r}" for name in names if ours.get(name) != theirs.get(name)
    ]


def alike(history: Sequence[Record], record: Record) -> list[Record]:
    """The measurements that may stand in one curve with a record.

    Example:
        >>> old, new = ({"step": step, "measure": {"style_hash": name}} for step, name in ((1, "a"), (2, "b")))
        >>> [entry["step"] for entry in alike([old, new], new)]
        [2]
    """
    return [entry for entry in history if not differences(entry, record)]
