# SPDX-License-Identifier: Apache-2.0
"""Measurements as files beside the logs, and a writer that outlives a full disk."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..metrics import ENCODINGS, LayerBias

__all__ = ("PendingFiles", "history_csv", "measurement_json")


class PendingFiles:
    """Files to write into a folder, kept until they could be written: a full disk delays them and loses none.

    Args:
        folder: where they go.

    Example:
        >>> import tempfile
        >>> files = PendingFiles(Path(tempfile.mkdtemp()))
        >>> files.put("bias.csv", "step")
        >>> files.write()
        >>> (files.folder / "bias.csv").read_text()
        'step'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._contents: dict[str, bytes | str] = {}

    def __len__(self) -> int:
        return len(self._contents)

    def put(self, name: str, content: bytes | str) -> None:
        """Take a file to be written; a newer content of the same name takes the place of the old one."""
        self._contents[name] = content

    def write(self) -> None:
        """Write all that is waiting, each file whole or not at all.

        Raises:
            OSError: from the first file that could not be written; it and those after it go on waiting.
        """
        for name in list(self._contents):
            write_whole(self.folder / name, self._contents[name])
            del self._contents[name]


def _plain(value: float) -> float | None:
    """JSON has no NaN: an unknown interval is null."""
    return None if math.isnan(value) else round(value, 6)


def measurement_json(record: Mapping[str, Any], settings: Mapping[str, Any], biases: Mapping[str, LayerBias]) -> str:
    """Everything about one measurement: how it was made, each layer's numbers, and the scores of every unit.

    Args:
        record: ``{"step", "epoch", "stage", "layers": {layer: numbers}}``.
        settings: estimator, threshold, style set, seed, number of clips …
        biases: the full results by layer.
    """
    layers = {
        layer: {
            **{name: _plain(value) for name, value in record["layers"][layer].items()},
            "unit_scores_static": [round(score, 6) for score in bias.unit_scores[0].tolist()],
            "unit_scores_dynamic": [round(score, 6) for score in bias.unit_scores[1].tolist()],
            "unit_encodings": [ENCODINGS[index] for index in bias.encoding.reshape(-1).tolist()],
        }
        for layer, bias in biases.items()
    }
    head = {key: record[key] for key in ("step", "epoch", "stage")}
    return json.dumps({**head, "settings": dict(settings), "layers": layers}, indent=1)


def history_csv(history: Sequence[Mapping[str, Any]]) -> str:
    """All measurements of a run, one row for each layer of each measurement.

    Example:
        >>> print(history_csv([{"step": 0, "epoch": 0, "stage": "fit", "layers": {"res5": {"static": 40.0}}}]))
        step,epoch,stage,layer,static
        0,0,fit,res5,40.0
        <BLANKLINE>
    """
    rows = [
        {
            **{name: record[name] for name in ("step", "epoch", "stage")},
            "layer": layer,
            **numbers,
            **record.get("measure", {}),
        }
        for record in history
        for layer, numbers in record["layers"].items()
    ]
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in rows
    )
    return buffer.getvalue()
