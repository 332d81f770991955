"""poise: differentiable neural architecture search that does not collapse."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poise import methods as methods
    from poise import selection as selection
    from poise import spaces as spaces
    from poise import tasks as tasks
    from poise.costs.target import CostTarget as CostTarget
    from poise.data import Images as Images
    from poise.data import open_source as open_source
    from poise.engine.events import ignore as ignore
    from poise.errors import Refused as Refused
    from poise.errors import Stopped as Stopped
    from poise.genotype import Genotype as Genotype
    from poise.jobs.seeds import search_seeds as search_seeds
    from poise.methods import Method as Method
    from poise.supernet.choice import Choice as Choice
    from poise.tasks.trained import TrainedNetwork as TrainedNetwork
    from poise.workflow.create import create_model as create_model
    from poise.workflow.diagnose import Diagnosis as Diagnosis
    from poise.workflow.diagnose import diagnose as diagnose
    from poise.workflow.measuring import measure_latency as measure_latency
    from poise.workflow.network import load_network as load_network
    from poise.workflow.predict import predict as predict
    from poise.workflow.push import push as push
    from poise.workflow.resume import resume as resume
    from poise.workflow.retrain import evaluate as evaluate
    from poise.workflow.retrain import export as export
    from poise.workflow.retrain import train as train
    from poise.workflow.search import SearchResult as SearchResult
    from poise.workflow.search import search as search
    from poise.workflow.select import select as select

__version__ = "0.2.0"

_PACKAGES = ("methods", "selection", "spaces", "tasks")
_HOMES = {
    "CostTarget": "poise.costs.target",
    "Choice": "poise.supernet.choice",
    "Diagnosis": "poise.workflow.diagnose",
    "Genotype": "poise.genotype",
    "Images": "poise.data",
    "Method": "poise.methods",
    "Refused": "poise.errors",
    "SearchResult": "poise.workflow.search",
    "Stopped": "poise.errors",
    "TrainedNetwork": "poise.tasks.trained",
    "create_model": "poise.workflow.create",
    "diagnose": "poise.workflow.diagnose",
    "ignore": "poise.engine.events",
    "evaluate": "poise.workflow.retrain",
    "export": "poise.workflow.retrain",
    "load_network": "poise.workflow.network",
    "measure_latency": "poise.workflow.measuring",
    "open_source": "poise.data",
    "predict": "poise.workflow.predict",
    "push": "poise.workflow.push",
    "resume": "poise.workflow.resume",
    "search": "poise.workflow.search",
    "search_seeds": "poise.jobs.seeds",
    "select": "poise.workflow.select",
    "train": "poise.workflow.retrain",
}
"""Where each name is defined: it is imported when it is first used (PEP 562), torch and all."""

__all__ = sorted([*_PACKAGES, *_HOMES])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES or name == "sklearn":  # which is in no list: to name it takes scikit-learn
        return importlib.import_module(f"poise.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'poise' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """``poise.export`` is the function, also once the package of that name has been imported: Python would then make it
    an attribute of this one."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "export" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
