# SPDX-License-Identifier: Apache-2.0
"""Names said once and read both ways: pairs of templates with placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Formatter

__all__ = ("NameTable", "Row")

Row = tuple[str, str]
"""An official template and ours."""

# What a placeholder stands for, by its name; every other one is a number.
PLACEHOLDERS = {
    "leaf": r"\w+",  # weight, bias, running_mean …
    "letter": "[abc]",
    "qkv": "[qkv]",
    "part": "conv|bn",
    "embedding": "conv_theta|conv_phi|conv_g|conv_out|bn",
    "linear": "fc1|fc2",
    "projection": "qkv|q|k|v|proj",
}


def _pattern(template: str) -> re.Pattern[str]:
    parts = []
    for text, field, _, _ in Formatter().parse(template):
        parts.append(re.escape(text))
        if field is not None:
            parts.append(f"(?P<{field}>{PLACEHOLDERS.get(field, '[0-9]+')})")
    return re.compile("".join(parts))


class NameTable:
    """A translation between two namings, the same in either direction.

    Args:
        rows: pairs of an official template and ours, with the same placeholders in both; the first that matches counts.
        read_only: further pairs that are read from the official naming, and never written.

    Example:
        >>> table = NameTable([("s{stage}_fuse.conv_f2s.{leaf}", "fuse{stage}.conv.{leaf}")])
        >>> table.to_own("s3_fuse.conv_f2s.weight")
        'fuse3.conv.weight'
        >>> table.to_official("fuse3.conv.weight")
        's3_fuse.conv_f2s.weight'
        >>> table.to_own("s3_fuse.unknown")
    """

    def __init__(self, rows: Iterable[Row], read_only: Iterable[Row] = ()) -> None:
        rows = tuple(rows)
        self._to_own = [(_pattern(official), own) for official, own in (*rows, *read_only)]
        self._to_official = [(_pattern(own), official) for official, own in rows]

    def to_own(self, name: str) -> str | None:
        """Translate an official name into ours; None where no row matches."""
        return _translate(name, self._to_own)

    def to_official(self, name: str) -> str | None:
        """Translate our name into the official one; None where no row matches."""
        return _translate(name, self._to_official)


def _translate(name: str, rows: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, template in rows:
        if match := pattern.fullmatch(name):
            return template.format(**match.groupdict())
    return None
