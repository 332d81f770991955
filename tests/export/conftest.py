import pytest
from export_networks import GENOTYPES, network
from torch import nn

from poise.genotype import Genotype


@pytest.fixture(params=GENOTYPES, scope="session")
def trained(request: pytest.FixtureRequest) -> tuple[nn.Module, Genotype]:
    """A network of each kind and its genotype."""
    genotype = GENOTYPES[request.param]
    return network(genotype), genotype
