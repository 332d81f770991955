"""`Choice`: a searchable layer for any `torch.nn.Module`, and the mixed sum that every searchable layer computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.genotype import checked_name

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


def mixed_sum(candidates: Iterable[nn.Module], x: Tensor, weights: Tensor) -> Tensor:
    """``sum_o p[o] * o(x)`` over the candidates of one choice.

    Args:
        candidates: modules that map ``x`` to outputs of one shape.
        x: the input.
        weights: ``[candidates]``, one row of a mixture.

    Where no gradient flows to the weights and they can be read without waiting for a device, a candidate of weight
    exactly 0 is not computed: a one-hot row costs what the discrete layer costs. One that draws random numbers always
    is, so that later draws are the same whatever the weights. If nothing is left, the first is computed, for its shape.
    """
    modules = list(candidates)
    used = list(range(len(modules)))
    if not weights.requires_grad and weights.device.type == "cpu":
        values = weights.tolist()
        used = [index for index in used if values[index] != 0.0 or (0.0 in values and draws(modules[index]))] or [0]
    total: Tensor | None = None
    for index in used:
        term = weights[index] * modules[index](x)
        total = term if total is None else total + term
    assert total is not None
    return total


def draws(module: nn.Module) -> bool:
    """Whether a module draws random numbers: dropout of any kind, or one that says so by ``stochastic = True``."""
    return any(getattr(part, "stochastic", isinstance(part, DROPOUTS)) for part in module.modules())


class Choice(nn.Module):
    """A layer that is one of several candidates; the search finds out which.

    Put it anywhere in a module of your own; `poise.search(module, data)` searches all of them and returns the module
    with each `Choice` replaced by the candidate that was chosen.

    Args:
        candidates: name -> module, or modules (then named ``0``, ``1``, ...). All map the same input to the same shape.
        group: choices with the same group name share architecture parameters: one decision for all of them. Without a
            name every `Choice` decides for itself.

    Raises:
        Refused: fewer than two candidates, one that is no module, or a name that cannot stand in a genotype.

    The layer computes ``sum_o p[o] * o(x)``. Its ``mixture`` buffer, ``[candidates]``, is what
    `ModuleSupernet` hands it for one call; outside a search it is uniform, so that the module runs as it is.

    Example:
        >>> import torch
        >>> layer = Choice({"identity": nn.Identity(), "linear": nn.Linear(2, 2)})
        >>> layer(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    mixture: Tensor

    def __init__(self, candidates: Mapping[str, nn.Module] | Iterable[nn.Module], group: str | None = None) -> None:
        super().__init__()
        named = candidates if isinstance(candidates, Mapping) else {str(i): m for i, m in enumerate(candidates)}
        if len(named) < 2:
            raise Refused(f"a Choice needs at least two candidates, got {len(named)}")
        for name, candidate in named.items():
            checked_name(name, "a candidate of a Choice")
            if name == "none" or "." in name or hasattr(nn.ModuleDict, name):
                raise Refused(f"a candidate of a Choice cannot be called {name!r}: the name is taken; choose another")
            if not isinstance(candidate, nn.Module):
                raise Refused(
                    f"candidate {name!r} of a Choice must be a torch.nn.Module, got {type(candidate).__name__}"
                )
        self.candidates = nn.ModuleDict(named)
        self.group = group
        self.register_buffer("mixture", torch.full((len(named),), 1 / len(named)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return mixed_sum(self.candidates.values(), x, self.mixture)
