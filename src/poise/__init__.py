"""poise: differentiable neural architecture search that does not collapse."""

from poise import methods, selection, spaces
from poise.data import Images, open_source
from poise.errors import Refused, Stopped
from poise.genotype import Genotype
from poise.methods import Method
from poise.supernet.choice import Choice
from poise.supernet.costs import CostTarget
from poise.workflow.diagnose import Diagnosis, diagnose
from poise.workflow.measuring import measure_latency
from poise.workflow.network import TrainedNetwork, load_network
from poise.workflow.resume import resume
from poise.workflow.retrain import evaluate, export, train
from poise.workflow.search import SearchResult, search
from poise.workflow.select import select

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "CostTarget",
    "Diagnosis",
    "Genotype",
    "Images",
    "Method",
    "Refused",
    "SearchResult",
    "Stopped",
    "TrainedNetwork",
    "diagnose",
    "evaluate",
    "export",
    "load_network",
    "measure_latency",
    "methods",
    "open_source",
    "resume",
    "search",
    "select",
    "selection",
    "spaces",
    "train",
]
