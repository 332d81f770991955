"""The papers' methods and poise's own, each a few lines. Published settings are for CIFAR-10."""

from __future__ import annotations

from poise.methods.alignment import LayerAlignment
from poise.methods.averaging import TailAverage
from poise.methods.connections import PartialConnections
from poise.methods.curriculum import Blank, WarmUp
from poise.methods.guard import SkipGuard
from poise.methods.hypergradient import Unrolled
from poise.methods.method import Method
from poise.methods.penalty import ZeroOne
from poise.methods.perturbation import AdversarialSmoothing, ExactAdversarialSmoothing, RandomSmoothing
from poise.methods.preset import Settings, preset
from poise.methods.progressive import Progressive
from poise.methods.relaxation import Sigmoid, Softmax
from poise.selection.magnitude import Magnitude
from poise.selection.perturbation import PerturbationRule
from poise.selection.threshold import Threshold

LIU = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search. ICLR 2019, arXiv:1806.09055"
CHU = (
    "Chu, Zhou, Zhang, Li: Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search. "
    "ECCV 2020, arXiv:1911.12126"
)
CHEN = (
    "Chen, Hsieh: Stabilizing Differentiable Architecture Search via Perturbation-based Regularization. "
    "ICML 2020, arXiv:2002.05283"
)
MOVAHEDI = (
    "Movahedi et al.: Λ-DARTS: Mitigating Performance Collapse by Harmonizing Operation Selection among Cells. "
    "ICLR 2023, arXiv:2210.07998"
)
WANG = "Wang et al.: Rethinking Architecture Selection in Differentiable NAS. ICLR 2021, arXiv:2108.04392"
XU = (
    "Xu et al.: PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search. ICLR 2020, "
    "arXiv:1907.05737"
)

CHEN_X = (
    "Chen, Xie, Wu, Tian: Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and "
    "Evaluation. ICCV 2019, arXiv:1904.12760"
)

CELLS = ("darts", "s1", "s2", "s3", "s4")
"""Spaces of networks with drop-path and an auxiliary head."""
ONE_SHOT = ("nasbench1shot1-1", "nasbench1shot1-2", "nasbench1shot1-3")

LONG = {"search.epochs": 100, "search.weights.weight_decay": 3e-4, "search.weights.nesterov": False}
"""The papers after NAS-Bench-201 searched it with code of their own, twice as long as the benchmark's and in other ways
as on the DARTS space."""

FAIR: Settings = {
    "*": {
        "search.alphas.learning_rate": 3e-3,
        "search.alphas.betas": (0.9, 0.999),
        "search.weights.learning_rate": 0.005,
        "search.weights.final_learning_rate": 0.001,
        "search.batch_size": 128,
    }
}
STRONGER: Settings = {space: {"alignment.strength": 0.25} for space in ("nasbench201", "s1", "s2", "s3", "s4")}
ALIGNED: Settings = {
    "*": {"alignment.distance": 1e-4},
    "nasbench201": {**LONG, "search.weights_first": True, "search.alphas.learning_rate": 1e-4},
}
PERTURBED: Settings = {"nasbench201": LONG}
SMOOTHED: Settings = {"nasbench201": LONG, **{space: {"search.epochs": 100} for space in ONE_SHOT}}
PARTIAL: Settings = {
    "*": {
        "search.batch_size": 256,
        "search.weights.learning_rate": 0.1,
        "search.weights.final_learning_rate": 0.0,
        "search.alphas.learning_rate": 6e-4,
    },
    **{space: {"train.drop_path": 0.3} for space in CELLS},
}
PROGRESSIVE: Settings = {
    "*": {
        "search.epochs": 75,
        "search.batch_size": 96,
        "search.weights.final_learning_rate": 0.0,
        "search.alphas.learning_rate": 6e-4,
    },
    **{space: {"space.cells": 5, "train.drop_path": 0.3, "train.batch_size": 128} for space in CELLS},
}
SHALLOWER: Settings = {"nasbench201": {"curriculum.deeper": (0, 2, 4), "curriculum.candidates": (5, 4, 3)}}
"""Of the 5 candidates some go between any two stages, and the network gets 6 and 12 cells more, as in the paper."""
SHALLOW: Settings = {"mobile": {"guard.action": "warn"}}
"""Where leaving layers out is a way to be cheap, many skip connections need not be a collapse."""


@preset("poise", settings=SHALLOW, citation=f"{MOVAHEDI}; {CHU}")
def poise() -> Method:
    """poise's own, and the default: independent weights, aligned layers, the last half's mean alphas; no ``none``."""
    return Method(
        relaxation=Sigmoid(),
        alignment=LayerAlignment(strength=0.1, ramp=0.3, required=False),
        guard=SkipGuard(action="keep"),
        averaging=TailAverage(),
        without=("none",),
    )


@preset("darts", citation=LIU)
def darts() -> Method:
    """First-order DARTS, the base of all."""
    return Method()


@preset("darts-2nd", citation=LIU)
def darts_2nd() -> Method:
    """Second-order DARTS: the alphas' gradient goes through one step of the weights."""
    return Method(hypergradient=Unrolled())


@preset("fair-darts", citation=CHU, published=FAIR)
def fair_darts() -> Method:
    """Independent sigmoid weights, zero-one loss, threshold; no ``none`` candidate."""
    return Method(relaxation=Sigmoid(), penalty=ZeroOne(), selection=Threshold(), without=("none",))


@preset("fair-darts-l1", citation=CHU, published=FAIR)
def fair_darts_l1() -> Method:
    """Fair DARTS with the L1 form of the zero-one loss."""
    return Method(relaxation=Sigmoid(), penalty=ZeroOne(norm="l1"), selection=Threshold(), without=("none",))


@preset("sdarts-rs", citation=CHEN, published=SMOOTHED)
def sdarts_rs() -> Method:
    """Weights trained under a randomly perturbed mixture."""
    return Method(perturbation=RandomSmoothing())


@preset("sdarts-adv", citation=CHEN, published=SMOOTHED)
def sdarts_adv() -> Method:
    """Weights trained under the worst perturbation of the mixture that an attack finds."""
    return Method(perturbation=AdversarialSmoothing())


@preset("sdarts-adv-exact", citation=CHEN, published=SMOOTHED)
def sdarts_adv_exact() -> Method:
    """SDARTS-ADV by a stronger attack than the published one, which never leaves the ball."""
    return Method(perturbation=ExactAdversarialSmoothing())


@preset("lambda-darts", citation=MOVAHEDI, settings=STRONGER, published=ALIGNED)
def lambda_darts() -> Method:
    """Weights corrected so that all layers' gradients agree on the candidates."""
    return Method(alignment=LayerAlignment())


@preset("lambda-darts-sign", citation=MOVAHEDI, settings=STRONGER, published=ALIGNED)
def lambda_darts_sign() -> Method:
    """Λ-DARTS with the ``signcorr`` form of the correlation."""
    return Method(alignment=LayerAlignment(form="signcorr"))


@preset("darts-pt", citation=WANG, published=PERTURBED)
def darts_pt() -> Method:
    """DARTS, selected by how much each candidate's removal hurts."""
    return Method(selection=PerturbationRule())


@preset("pc-darts", citation=XU, published=PARTIAL)
def pc_darts() -> Method:
    """Operations see a quarter of the channels, edges have weights of their own; the alphas wait 0.3 of the search."""
    return Method(connections=PartialConnections(), curriculum=WarmUp())


@preset("p-darts", citation=CHEN_X, settings=SHALLOWER, published=PROGRESSIVE)
def p_darts() -> Method:
    """Three stages: each deeper, of fewer candidates, with more dropout on skips; at most 2 skips in a normal cell."""
    return Method(curriculum=Progressive(), selection=Magnitude(skips=2))


@preset("blank-pt", citation=WANG, published=PERTURBED)
def blank_pt() -> Method:
    """DARTS-PT on a supernet whose alphas were never trained."""
    return Method(relaxation=Softmax(spread=0.0), curriculum=Blank(), selection=PerturbationRule())
