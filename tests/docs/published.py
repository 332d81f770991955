"""The papers' settings, as literals: what ``--preset paper`` is held against. The table in docs/methods.md is made of
it, and `test_published.py` compares every row with what poise resolves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from poise.config.resolve import plain_form, resolve

SOURCES = {
    "DARTS": "[DARTS](https://arxiv.org/abs/1806.09055)",
    "DARTS code": "[DARTS's code](https://github.com/quark0/darts)",
    "Fair DARTS": "[Fair DARTS](https://arxiv.org/abs/1911.12126)",
    "Fair DARTS code": "the command of [Fair DARTS's code](https://github.com/xiaomi-automl/FairDARTS)",
    "SDARTS": "[SmoothDARTS](https://arxiv.org/abs/2002.05283)",
    "SDARTS code": "[SmoothDARTS's code](https://github.com/xiangning-chen/SmoothDARTS)",
    "Λ-DARTS": "[Λ-DARTS](https://arxiv.org/abs/2210.07998)",
    "Λ-DARTS code": "[Λ-DARTS's code](https://github.com/dr-faustus/Lambda-DARTS)",
    "PT": "[DARTS-PT](https://arxiv.org/abs/2108.04392)",
    "PT code": "[DARTS-PT's code](https://github.com/ruocwang/darts-pt)",
    "PC-DARTS": "[PC-DARTS](https://arxiv.org/abs/1907.05737)",
    "PC-DARTS code": "[PC-DARTS's code](https://github.com/yuhuixu1993/PC-DARTS)",
    "P-DARTS": "[P-DARTS](https://arxiv.org/abs/1904.12760)",
    "P-DARTS code": "[P-DARTS's code](https://github.com/chenxin061/pdarts)",
    "P-DARTS command": "the command of [P-DARTS's code](https://github.com/chenxin061/pdarts)",
    "NAS-Bench-201": "[NAS-Bench-201](https://arxiv.org/abs/2001.00326)",
    "1Shot1": "[NAS-Bench-1Shot1](https://arxiv.org/abs/2001.10422)",
}

SDARTS = ("sdarts-rs", "sdarts-adv")
ALIGNED = ("lambda-darts", "lambda-darts-sign")
FAIR = ("fair-darts", "fair-darts-l1")
PT = ("darts-pt", "blank-pt")
LIKE_DARTS = ("darts", "darts-2nd", *SDARTS, *ALIGNED, *PT)
"""Searched as DARTS on its own space, but for what they do."""
ONE_SHOT = ("nasbench1shot1-1", "nasbench1shot1-2", "nasbench1shot1-3")
REDUCED = ("s1", "s2", "s3", "s4")


@dataclass(frozen=True)
class Published:
    """One published setting of one method on one space; ``why`` poise's differs, if it does."""

    space: str
    method: str
    setting: str
    value: Any
    source: str
    why: str = ""

    @property
    def resolved(self) -> Any:
        """What ``--preset paper`` makes of it."""
        return resolved(self.space, self.method)[self.setting]


@cache
def resolved(space: str, method: str) -> Mapping[str, Any]:
    """Every setting, by the name that one writes after ``--set``."""

    def flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            inner = isinstance(value, Mapping)
            found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
        return found

    everything = flat(plain_form(resolve(space=space, method=method, preset="paper")), "")
    plain = {name.removeprefix("method."): value for name, value in everything.items()}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _all(
    spaces: Sequence[str], methods: Sequence[str], source: str, values: Mapping[str, Any], why: str = ""
) -> Iterator[Published]:
    for space in spaces:
        for method in methods:
            for setting, value in values.items():
                yield Published(space, method, setting, value, source, why)


def _rows() -> Iterator[Published]:
    darts = ["darts"]
    search = {
        "space.channels": 16, "search.weights.momentum": 0.9, "search.weights.weight_decay": 3e-4,
        "search.weights.nesterov": False, "search.weights.clip": 5.0, "search.alphas.weight_decay": 1e-3,
    }  # fmt: skip
    yield from _all(darts, [*LIKE_DARTS, *FAIR, "pc-darts", "p-darts"], "DARTS", search)
    longer = {"space.cells": 8, "search.epochs": 50}
    yield from _all(darts, [*LIKE_DARTS, *FAIR, "pc-darts"], "DARTS", longer)
    rates = {
        "search.batch_size": 64, "search.weights.learning_rate": 0.025, "search.weights.final_learning_rate": 0.001,
        "search.alphas.learning_rate": 3e-4,
    }  # fmt: skip
    yield from _all(darts, LIKE_DARTS, "DARTS", rates)
    yield from _all(darts, [*LIKE_DARTS, "pc-darts", "p-darts"], "DARTS", {"search.alphas.betas": (0.5, 0.999)})
    yield from _all(darts, [*LIKE_DARTS, *FAIR, "pc-darts", "p-darts"], "DARTS", {"search.weights_first": False})
    spread = {"relaxation.spread": 1e-3}
    yield from _all(darts, ["darts", "darts-2nd", *SDARTS, *ALIGNED, "darts-pt"], "DARTS code", spread)
    retraining = {
        "train.channels": 36, "train.cells": 20, "train.epochs": 600, "train.auxiliary": 0.4, "train.cutout": 16,
        "train.weights.learning_rate": 0.025, "train.weights.final_learning_rate": 0.0,
        "train.weights.weight_decay": 3e-4,
    }  # fmt: skip
    yield from _all(darts, [*LIKE_DARTS, *FAIR, "pc-darts", "p-darts"], "DARTS", retraining)
    yield from _all(darts, [*LIKE_DARTS, *FAIR], "DARTS", {"train.drop_path": 0.2})
    yield from _all(darts, [*LIKE_DARTS, "pc-darts"], "DARTS", {"train.batch_size": 96})
    yield from _all(darts, ["darts-2nd"], "DARTS", {"hypergradient.distance": 0.01})

    fair = {
        "search.batch_size": 128, "search.weights.learning_rate": 0.005, "search.weights.final_learning_rate": 0.001,
        "search.alphas.learning_rate": 3e-3, "search.alphas.betas": (0.9, 0.999), "penalty.weight": 10.0,
        "selection.threshold": 0.85, "selection.form": "sparse", "without": ("none",),
    }  # fmt: skip
    yield from _all(darts, FAIR, "Fair DARTS", fair)
    why = "retrained as the other methods, with 96; `--set train.batch_size=128`"
    yield from _all(darts, FAIR, "Fair DARTS code", {"train.batch_size": 128}, why)

    smoothing = {"perturbation.initial": 0.03, "perturbation.final": 0.3, "perturbation.ramp": 1.0}
    yield from _all([*darts, "nasbench201", *ONE_SHOT, "recurrent"], SDARTS, "SDARTS", smoothing)
    attack = {"perturbation.kind": "adversarial", "perturbation.steps": 7}
    yield from _all([*darts, "nasbench201", *ONE_SHOT, "recurrent"], ["sdarts-adv"], "SDARTS", attack)

    ramp = {"alignment.ramp": 1.0}
    yield from _all([*darts, *REDUCED, "nasbench201"], ALIGNED, "Λ-DARTS", ramp)
    yield from _all(darts, ALIGNED, "Λ-DARTS", {"alignment.strength": 0.125})
    yield from _all([*REDUCED, "nasbench201"], ALIGNED, "Λ-DARTS", {"alignment.strength": 0.25})
    yield from _all([*darts, *REDUCED, "nasbench201"], ALIGNED, "Λ-DARTS code", {"alignment.distance": 1e-4})

    yield from _all([*darts, "nasbench201"], PT, "PT", {"selection.tune_epochs": 5})
    why = "the metric that counts, whatever the task; of classification that is the accuracy"
    yield from _all([*darts, "nasbench201"], PT, "PT", {"selection.criterion": "accuracy"}, why)
    yield from _all([*darts, "nasbench201"], PT, "PT code", {"selection.tune_schedule": "constant"})
    yield from _all([*darts, "nasbench201"], ["blank-pt"], "PT", {"relaxation.spread": 0.0, "curriculum.kind": "blank"})

    partial = {
        "search.batch_size": 256, "search.weights.learning_rate": 0.1, "search.weights.final_learning_rate": 0.0,
        "search.alphas.learning_rate": 6e-4, "connections.parts": 4,
        "curriculum.share": 15 / 50,
    }  # fmt: skip
    yield from _all(darts, ["pc-darts"], "PC-DARTS", partial)
    yield from _all(darts, ["pc-darts"], "PC-DARTS code", {"train.drop_path": 0.3})

    staged = {
        "search.epochs": 3 * 25, "space.cells": 5, "curriculum.deeper": (0, 6, 12), "curriculum.candidates": (8, 5, 3),
        "curriculum.skip_rates": (0.0, 0.4, 0.7), "curriculum.warm_up": 10 / 25, "selection.skips": 2,
        "search.batch_size": 96, "search.alphas.learning_rate": 6e-4, "train.drop_path": 0.3, "train.batch_size": 128,
    }  # fmt: skip
    yield from _all(darts, ["p-darts"], "P-DARTS", staged)
    ends = {"search.weights.learning_rate": 0.025, "search.weights.final_learning_rate": 0.0}
    yield from _all(darts, ["p-darts"], "P-DARTS code", ends)
    why = "as the paper says, 0"
    yield from _all(darts, ["p-darts"], "P-DARTS command", {"curriculum.skip_rates": (0.1, 0.4, 0.7)}, why)

    bench = ["nasbench201"]
    theirs = [*SDARTS, *ALIGNED, *PT]
    common = {
        "space.channels": 16, "space.cells": 5, "search.batch_size": 64, "search.weights.learning_rate": 0.025,
        "search.weights.final_learning_rate": 0.001, "search.weights.momentum": 0.9,
        "search.alphas.betas": (0.5, 0.999), "search.alphas.weight_decay": 1e-3,
    }  # fmt: skip
    yield from _all(bench, ["darts", "darts-2nd", *theirs], "NAS-Bench-201", common)
    own = {"search.epochs": 50, "search.weights.weight_decay": 5e-4, "search.weights.nesterov": True}
    yield from _all(bench, ["darts", "darts-2nd"], "NAS-Bench-201", own)
    longer = {"search.epochs": 100, "search.weights.weight_decay": 3e-4, "search.weights.nesterov": False}
    for methods, source in ((SDARTS, "SDARTS code"), (ALIGNED, "Λ-DARTS code"), (PT, "PT code")):
        yield from _all(bench, methods, source, longer)
    slow = {"search.alphas.learning_rate": 1e-4, "search.weights_first": True}
    yield from _all(bench, ALIGNED, "Λ-DARTS code", slow)
    quick = {"search.alphas.learning_rate": 3e-4, "search.weights_first": False}
    yield from _all(bench, ["darts", "darts-2nd", *SDARTS, *PT], "NAS-Bench-201", quick)
    networks = {
        "train.channels": 16, "train.cells": 5, "train.epochs": 200, "train.batch_size": 256,
        "train.weights.learning_rate": 0.1, "train.weights.nesterov": True, "train.weights.weight_decay": 5e-4,
    }  # fmt: skip
    yield from _all(bench, ["darts", "darts-2nd", *theirs], "NAS-Bench-201", networks)

    one_shot = {
        "space.channels": 16, "space.cells": 9, "search.batch_size": 96, "search.weights.learning_rate": 0.025,
        "search.weights.final_learning_rate": 0.001, "search.weights.momentum": 0.9, "search.weights.nesterov": False,
        "search.weights.weight_decay": 3e-4, "search.alphas.learning_rate": 3e-4, "search.alphas.weight_decay": 1e-3,
    }  # fmt: skip
    yield from _all(ONE_SHOT, ["darts", *SDARTS], "1Shot1", one_shot)
    yield from _all(ONE_SHOT, ["darts"], "1Shot1", {"search.epochs": 50})
    yield from _all(ONE_SHOT, SDARTS, "SDARTS code", {"search.epochs": 100})

    words = {
        "space.units": 300, "space.nodes": 8, "space.noise.input": 0.75, "space.noise.hidden": 0.25,
        "space.noise.output": 0.75, "space.noise.embedding": 0.2, "search.batch_size": 256, "search.text.sequence": 35,
        "search.weights.learning_rate": 20.0, "search.weights.clip": 0.25, "search.alphas.learning_rate": 3e-3,
        "train.channels": 850,
    }  # fmt: skip
    yield from _all(["recurrent"], ["darts", *SDARTS], "DARTS", words)
    yield from _all(["recurrent"], SDARTS, "SDARTS code", {"train.epochs": 3600})
    why = "a limit that its authors stopped at by hand; 3600, as SmoothDARTS's code"
    yield from _all(["recurrent"], ["darts"], "DARTS code", {"train.epochs": 8000}, why)


ROWS = tuple(_rows())
