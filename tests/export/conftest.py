from collections.abc import Iterator
from functools import cache

import pytest
from export_networks import GENOTYPES, network
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from poise.genotype import Genotype


@pytest.fixture(scope="session", autouse=True)
def translations() -> Iterator[None]:
    """torch's table of ONNX operations is made once, not by every export: a fourth of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(params=GENOTYPES, scope="session")
def trained(request: pytest.FixtureRequest) -> tuple[nn.Module, Genotype]:
    """A network of each kind and its genotype."""
    genotype = GENOTYPES[request.param]
    return network(genotype), genotype
