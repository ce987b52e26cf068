# SPDX-License-Identifier: Apache-2.0
"""A data set to take frames from, as one of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import OptionError, did_you_mean
from .option_checks import check_counts

__all__ = ("SegmentationSource",)


@dataclass(frozen=True)
class SegmentationSource:
    """Where to find frames with masks and flow.

    Attributes:
        root: folder of the data set.
        layout: its layout, or auto.
        split: the split to take.
        every: take every n-th frame with a mask of each sequence.
        flow_dir: folder of the flow; null: root.
        negatives_dir: folder of maps of hard negatives; null: none.

    Raises:
        OptionError: ``every`` is not a whole number of at least 1.

    Example:
        >>> SegmentationSource.of({"root": "/data/YouTubeVOS", "every": 10}).flow_folder.as_posix()
        '/data/YouTubeVOS'
    """

    root: str
    layout: str = "auto"
    split: str = "train"
    every: int = 1
    flow_dir: str | None = None
    negatives_dir: str | None = None

    def __post_init__(self) -> None:
        """Check the number."""
        check_counts(every=self.every)

    @classmethod
    def of(cls, source: SegmentationSource | Mapping[str, Any]) -> SegmentationSource:
        """Make a source of a dict with its attributes.

        Raises:
            OptionError: the dict has no root, a key that is no attribute, or a value that is not allowed.
        """
        if isinstance(source, SegmentationSource):
            return source
        names = [field.name for field in fields(cls)]
        unknown = [key for key in source if key not in names]
        if unknown:
            raise OptionError(f"A data set in `more` has no {unknown[0]!r}. {did_you_mean(unknown[0], names)}")
        if "root" not in source:
            raise OptionError(f"A data set in `more` needs a root, the folder it lies in; got {dict(source)}.")
        return cls(**source)

    @property
    def flow_folder(self) -> Path:
        """Where its flow lies."""
        return Path(self.flow_dir or self.root)
