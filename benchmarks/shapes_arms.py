# SPDX-License-Identifier: Apache-2.0
"""What the study compares: every arm is a name and the callbacks (and the dropout of the head) that it trains with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Callback

from staticdropout.callbacks import ShuffleConfusion, StaticDropout

RATES = (0.1, 0.3, 0.5, 0.7)
UNIFORM = 1e6
"""A temperature at which every channel is equally likely: channel dropout by the same machinery."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        about: a line for people.
        dropout: rate of ``nn.Dropout`` before the classifier.
        static_dropout: arguments of StaticDropout callbacks.
        confusion: arguments of ShuffleConfusion, or nothing.
        shortcut: whether the looks give the class away in training; without, the network is the one to be hoped for.
    """

    about: str
    dropout: float = 0.0
    static_dropout: tuple[Mapping[str, Any], ...] = ()
    confusion: Mapping[str, Any] = field(default_factory=dict)
    shortcut: bool = True

    def callbacks(self) -> list[Callback]:
        """Fresh callbacks for one training."""
        callbacks: list[Callback] = [StaticDropout(**options) for options in self.static_dropout]
        if self.confusion:
            callbacks.append(ShuffleConfusion(**self.confusion))
        return callbacks


def _static(about: str, rate: float = 0.5, **options: Any) -> Arm:
    return Arm(about, static_dropout=({"rate": rate, **options},))


ARMS: dict[str, Arm] = {
    "none": Arm("no dropout"),
    "no-shortcut": Arm("no dropout, looks random in training", shortcut=False),
}
for _r in RATES:
    ARMS[f"dropout-{_r}"] = Arm(f"nn.Dropout, r={_r}", dropout=_r)
    ARMS[f"channel-{_r}"] = _static(f"channel dropout with a fixed number of channels, r={_r}", _r, temperature=UNIFORM)
    ARMS[f"static-{_r}"] = _static(f"StaticDropout, the paper's rule, r={_r}", _r)
BASELINES = tuple(ARMS)
REFERENCES = ("none", "no-shortcut", "channel-0.5", "static-0.5")
"""What the candidates are tried beside."""

_minus: dict[str, Any] = {"score": "static_minus_dynamic"}
ARMS |= {
    "sharp-0.2": _static("temperature 0.2", temperature=0.2),
    "sharp-0.05": _static("temperature 0.05", temperature=0.05),
    "zscore": _static("z-scored, temperature 1", score_transform="zscore"),
    "zscore-0.3": _static("z-scored, temperature 0.3", score_transform="zscore", temperature=0.3),
    "rank-0.2": _static("ranks, temperature 0.2", score_transform="rank", temperature=0.2),
    "minus": _static("static minus dynamic score", **_minus),
    "minus-zscore-0.3": _static(
        "static minus dynamic score, z-scored, temperature 0.3", score_transform="zscore", temperature=0.3, **_minus
    ),
    "last-batch": _static("scores of the last batch alone", estimator="batch"),
    "momentum-0.5": _static("momentum 0.5", momentum=0.5),
    "every-10": _static("scores every 10 steps", every_n_steps=10),
    "one-mask": _static("one mask a batch", per_sample=False),
    "replacement": _static("drawn with replacement", sampling="multinomial_replacement"),
    "bernoulli": _static("drawn one by one", sampling="bernoulli"),
    "topk": _static("always the highest scores", sampling="topk"),
    "no-rescale": _static("no rescaling", rescale="none"),
    "inclusion": _static("rescaled by inclusion probability", rescale="inclusion"),
    "no-rescale-sharp": _static("no rescaling, z-scored, temperature 0.3", score_transform="zscore", temperature=0.3,
                                rescale="none"),
    "at-res4": _static("at res4", layer="model.res4"),
    "at-res3": _static("at res3", layer="model.res3"),
    "at-res3-zscore-0.3": _static(
        "at res3, z-scored, temperature 0.3", layer="model.res3", score_transform="zscore", temperature=0.3
    ),
    "several": Arm(
        "at res3, res4 and the classifier, r=0.3",
        static_dropout=({"rate": 0.3}, {"rate": 0.3, "layer": "model.res4"}, {"rate": 0.3, "layer": "model.res3"}),
    ),
}  # fmt: skip
for _weight in (0.1, 0.3, 1.0, 3.0):
    ARMS[f"confusion-{_weight}"] = Arm(f"confusion, weight {_weight}", confusion={"weight": _weight})
ARMS |= {
    "confusion-1.0-every-1": Arm(
        "confusion, weight 1, at every batch", confusion={"weight": 1.0, "every_n_steps": 1}
    ),
    "confusion-1.0-every-10": Arm(
        "confusion, weight 1, at every tenth batch", confusion={"weight": 1.0, "every_n_steps": 10}
    ),
    "confusion-1.0-batch": Arm(
        "confusion, weight 1, shuffled clips by their own statistics",
        confusion={"weight": 1.0, "batch_norm": "batch"},
    ),
    "confusion-1.0-update": Arm(
        "confusion, weight 1, shuffled clips by their own statistics, also in the running ones",
        confusion={"weight": 1.0, "batch_norm": "update"},
    ),
    "confusion-1.0-channel-0.5": Arm(
        "confusion, weight 1, and channel dropout, r=0.5",
        static_dropout=({"rate": 0.5, "temperature": UNIFORM},), confusion={"weight": 1.0},
    ),
    "confusion-1.0-static-0.5": Arm(
        "confusion, weight 1, and StaticDropout, r=0.5", static_dropout=({"rate": 0.5},), confusion={"weight": 1.0}
    ),
    "confusion-1.0-static-0.3": Arm(
        "confusion, weight 1, and StaticDropout, r=0.3", static_dropout=({"rate": 0.3},), confusion={"weight": 1.0}
    ),
    "confusion-1.0-minus-zscore-0.3": Arm(
        "confusion, weight 1, and static minus dynamic, z-scored, temperature 0.3",
        static_dropout=({"rate": 0.5, "score_transform": "zscore", "temperature": 0.3, **_minus},),
        confusion={"weight": 1.0},
    ),
}  # fmt: skip
CANDIDATES = tuple(name for name in ARMS if name not in BASELINES)

FAMILIES = {
    "StaticDropout": [name for name in CANDIDATES if not ARMS[name].confusion],
    "ShuffleConfusion": [name for name in CANDIDATES if ARMS[name].confusion and not ARMS[name].static_dropout],
    "both": [name for name in CANDIDATES if ARMS[name].confusion and ARMS[name].static_dropout],
}
"""Finalists are chosen in each."""
