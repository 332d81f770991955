"""Selection rules: trained supernet -> genotype."""

from poise.selection.budget import Budget
from poise.selection.magnitude import Magnitude
from poise.selection.perturbation import PerturbationRule
from poise.selection.rule import SELECTIONS, Selection
from poise.selection.threshold import Threshold

__all__ = ["SELECTIONS", "Budget", "Magnitude", "PerturbationRule", "Selection", "Threshold"]
