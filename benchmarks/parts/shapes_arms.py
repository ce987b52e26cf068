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
_sharp: dict[str, Any] = {"score_transform": "zscore", "temperature": 0.3}
ARMS |= {
    "temperature-0.2": _static("temperature 0.2, r=0.5", temperature=0.2),
    "zscore": _static("z-scored, r=0.5", score_transform="zscore"),
    "sharp": _static("z-scored, temperature 0.3, r=0.5", **_sharp),
    "sharp-0.3": _static("z-scored, temperature 0.3, r=0.3", 0.3, **_sharp),
    "sharp-0.1": _static("z-scored, temperature 0.3, r=0.1", 0.1, **_sharp),
    "rank-0.2": _static("ranks, temperature 0.2, r=0.5", score_transform="rank", temperature=0.2),
    "minus": _static("static minus dynamic, r=0.5", **_minus),
    "minus-sharp": _static("static minus dynamic, z-scored, temperature 0.3, r=0.5", **_minus, **_sharp),
    "minus-sharp-0.1": _static("static minus dynamic, z-scored, temperature 0.3, r=0.1", 0.1, **_minus, **_sharp),
    "last-batch": _static("scores of the last batch alone, r=0.5", estimator="batch"),
    "one-mask": _static("one mask a batch, r=0.5", per_sample=False),
    "replacement": _static("drawn with replacement, r=0.5", sampling="multinomial_replacement"),
    "bernoulli": _static("drawn one by one, r=0.5", sampling="bernoulli"),
    "topk": _static("always the highest scores, r=0.5", sampling="topk"),
    "no-rescale": _static("no rescaling, r=0.5", rescale="none"),
    "inclusion": _static("rescaled by inclusion probability, r=0.5", rescale="inclusion"),
    "at-res4": _static("at res4, r=0.3", 0.3, layer="model.res4"),
    "several": Arm(
        "at res3, res4 and the classifier, r=0.3",
        static_dropout=({"rate": 0.3}, {"rate": 0.3, "layer": "model.res4"}, {"rate": 0.3, "layer": "model.res3"}),
    ),
}


def _confusion(about: str, weight: float, *static_dropout: Mapping[str, Any], **options: Any) -> Arm:
    every: dict[str, Any] = {"every_n_steps": 4}
    return Arm(f"confusion, weight {weight}{about}", 0.0, static_dropout, {"weight": weight} | every | options)


for _weight in (0.1, 0.3, 1.0, 3.0):
    ARMS[f"confusion-{_weight}"] = _confusion("", _weight)
ARMS |= {
    "confusion-0.3-always": _confusion(", at every step", 0.3, every_n_steps=1),
    "confusion-1.0-always": _confusion(", at every step", 1.0, every_n_steps=1),
    "confusion-1.0-batch": _confusion(", own statistics", 1.0, batch_norm="batch"),
    "confusion-1.0-update": _confusion(", own statistics in the running ones", 1.0, batch_norm="update"),
    "confusion-0.3-static-0.3": _confusion(", StaticDropout r=0.3", 0.3, {"rate": 0.3}),
    "confusion-1.0-static-0.3": _confusion(", StaticDropout r=0.3", 1.0, {"rate": 0.3}),
    "confusion-1.0-static-0.5": _confusion(", StaticDropout r=0.5", 1.0, {"rate": 0.5}),
    "confusion-1.0-sharp-0.3": _confusion(
        ", StaticDropout z-scored, temperature 0.3, r=0.3", 1.0, {"rate": 0.3, **_sharp}
    ),
}
CANDIDATES = tuple(name for name in ARMS if name not in BASELINES)
FAMILIES = {
    "StaticDropout": [name for name in CANDIDATES if not ARMS[name].confusion],
    "ShuffleConfusion": [name for name in CANDIDATES if ARMS[name].confusion and not ARMS[name].static_dropout],
    "both": [name for name in CANDIDATES if ARMS[name].confusion and ARMS[name].static_dropout],
}
"""Finalists are chosen in each."""


RULE = ("score", "score_transform", "estimator", "temperature", "sampling")
"""Options that say which channels are dropped; the others say where, how often and how many."""


def _uniform(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same dropout with every channel equally likely."""
    kept = {key: value for key, value in options.items() if key not in RULE}
    # The highest are not drawn, so that without scores there is nothing like it: plain channel dropout.
    law = {key: value for key, value in options.items() if key == "sampling" and value != "topk"}
    return {**kept, **law, "temperature": UNIFORM}


def _twins() -> dict[str, str]:
    """For every arm with a rule the arm that differs in the rule alone, which is added where it is not there."""
    found = {}
    for name, arm in list(ARMS.items()):
        plain = tuple(_uniform(options) for options in arm.static_dropout)
        if not plain or plain == arm.static_dropout:
            continue
        same = [n for n, a in ARMS.items() if (a.static_dropout, a.confusion) == (plain, arm.confusion)]
        found[name] = same[0] if same else f"{name}-twin"
        if not same:
            ARMS[found[name]] = Arm(f"channels equally likely, else as: {arm.about}", 0.0, plain, arm.confusion)
    return found


TWINS = _twins()
"""The control of each arm with a rule: what it does beyond dropping channels."""
