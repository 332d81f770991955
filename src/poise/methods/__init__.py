"""Methods as values: the slots, what fills them, and the papers' methods."""

from poise.costs.target import CostTarget
from poise.methods.aiming import aimed
from poise.methods.alignment import LayerAlignment, NoAlignment
from poise.methods.averaging import LastEpoch, TailAverage
from poise.methods.connections import FullConnections, PartialConnections
from poise.methods.curriculum import Blank, NoCurriculum, WarmUp
from poise.methods.expected_cost import ExpectedCost
from poise.methods.guard import NoGuard, SkipGuard
from poise.methods.hypergradient import FirstOrder, Unrolled
from poise.methods.method import Method
from poise.methods.penalty import NoPenalty, Sum, ZeroOne
from poise.methods.perturbation import AdversarialSmoothing, ExactAdversarialSmoothing, NoPerturbation, RandomSmoothing
from poise.methods.preset import METHODS, preset
from poise.methods.presets import (
    blank_pt,
    darts,
    darts_2nd,
    darts_pt,
    fair_darts,
    fair_darts_l1,
    lambda_darts,
    lambda_darts_sign,
    p_darts,
    pc_darts,
    poise,
    sdarts_adv,
    sdarts_adv_exact,
    sdarts_rs,
)
from poise.methods.progressive import Progressive
from poise.methods.relaxation import Sigmoid, Softmax
from poise.methods.slots import fills

zero_one = ZeroOne
"""Fair DARTS's zero-one loss, `ZeroOne`."""

__all__ = [
    "METHODS",
    "AdversarialSmoothing",
    "Blank",
    "CostTarget",
    "ExactAdversarialSmoothing",
    "ExpectedCost",
    "FirstOrder",
    "FullConnections",
    "LastEpoch",
    "LayerAlignment",
    "Method",
    "NoAlignment",
    "NoCurriculum",
    "NoGuard",
    "NoPenalty",
    "NoPerturbation",
    "PartialConnections",
    "Progressive",
    "RandomSmoothing",
    "Sigmoid",
    "SkipGuard",
    "Softmax",
    "Sum",
    "TailAverage",
    "Unrolled",
    "WarmUp",
    "ZeroOne",
    "aimed",
    "blank_pt",
    "darts",
    "darts_2nd",
    "darts_pt",
    "fair_darts",
    "fair_darts_l1",
    "fills",
    "lambda_darts",
    "lambda_darts_sign",
    "p_darts",
    "pc_darts",
    "poise",
    "preset",
    "sdarts_adv",
    "sdarts_adv_exact",
    "sdarts_rs",
    "zero_one",
]
