"""`Choice`: a searchable layer for any `torch.nn.Module`, and the mixed sum that every searchable layer computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.genotype import checked_name
from poise.supernet.intact import DROPOUTS, intact


def mixed_sum(candidates: Iterable[nn.Module], x: Tensor, weights: Tensor) -> Tensor:
    """``sum_o p[o] * o(x)`` over the candidates of one choice.

    Args:
        candidates: modules that map ``x`` to outputs of one shape.
        x: the input; no candidate changes it, see `intact`.
        weights: ``[candidates]``, one row of a mixture.

    Raises:
        Refused: outputs of different shapes or dtypes, or one that is no tensor of numbers.

    Where no gradient flows to the weights and they can be read without waiting for a device, a candidate of weight
    exactly 0 is not computed: a one-hot row costs what the discrete layer costs. One that draws random numbers always
    is, so that later draws are the same whatever the weights. If nothing is left, the first is computed, for its shape.
    """
    return _mixed([(type(module).__name__, module) for module in candidates], weights, x)


def _mixed(candidates: Sequence[tuple[str, nn.Module]], weights: Tensor, *inputs: Any, **options: Any) -> Tensor:
    """`mixed_sum` of named candidates, for any inputs."""
    used = list(range(len(candidates)))
    if not weights.requires_grad and weights.device.type == "cpu":
        values = weights.tolist()
        used = [index for index in used if values[index] != 0.0 or (0.0 in values and draws(candidates[index][1]))]
    first: tuple[str, Tensor] | None = None
    total: Tensor | None = None
    for index in used or [0]:
        name, module = candidates[index]
        output = intact(module, *inputs, **options)
        _check_output(name, output, first)
        first = first or (name, output)
        term = weights[index] * output
        total = term if total is None else total + term
    assert total is not None
    return total


def _check_output(name: str, output: Any, first: tuple[str, Tensor] | None) -> None:
    """Raise `Refused` unless a candidate's output can be added to that of the ``first`` one."""
    if not isinstance(output, Tensor):
        raise Refused(f"candidate {name!r} of a Choice puts out {described(output)}, expected a tensor")
    if not (output.is_floating_point() or output.is_complex()):
        raise Refused(f"candidate {name!r} of a Choice puts out {described(output)}, expected floating point numbers")
    if first is None:
        return
    mixes = torch.is_autocast_enabled(output.device.type)  # which lets some layers put out half precision, some not
    other, value = first
    if output.shape != value.shape or (output.dtype != value.dtype and not mixes):
        raise Refused(
            f"the candidates of a Choice must put out the same shape and dtype, got {described(value)} from {other!r} "
            f"and {described(output)} from {name!r}"
        )


def shaped(operation: nn.Module, x: Tensor, stride: int) -> Tensor:
    """What an operation that nothing is known of puts out on an edge of this stride.

    Raises `Refused` unless its output has the shape of what its edge ends in.
    """
    found = intact(operation, x)
    expected = x[:, :, ::stride, ::stride].shape
    if not isinstance(found, Tensor) or found.shape != expected:
        raise Refused(f"{type(operation).__name__} puts out {described(found)} on its edge, expected {list(expected)}")
    return found


def described(value: Any) -> str:
    """What a value is, for a refusal: a tensor's shape and dtype, or what else it is."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def stochastic(part: nn.Module) -> bool:
    """Whether a module itself, the modules in it aside, draws random numbers: dropout of any kind, or one that says so
    by ``stochastic = True``."""
    return bool(getattr(part, "stochastic", isinstance(part, DROPOUTS)))


def draws(module: nn.Module) -> bool:
    """Whether a module draws random numbers."""
    return any(map(stochastic, module.modules()))


class Choice(nn.Module):
    """A layer that is one of several candidates; the search finds out which.

    Put it anywhere in a module of your own; `poise.search(module, data)` searches all of them and returns the module
    with each `Choice` replaced by the candidate that was chosen.

    Args:
        candidates: name -> module, or modules (then named ``0``, ``1``, ...). All map the same input to the same shape.
        group: choices with the same group name share architecture parameters: one decision for all of them. Without a
            name every `Choice` decides for itself.

    Raises:
        Refused: fewer than two candidates, one that is no module, or a name that cannot stand in a genotype; when it is
            called, candidates whose outputs cannot be added up.

    The layer computes ``sum_o p[o] * o(x)``, with as many inputs and keyword arguments as its candidates take; one that
    works in place gets a copy of them. Its ``mixture`` buffer, ``[candidates]``, is what
    `ModuleSupernet` hands it for one call; outside a search it is uniform, so that the module runs as it is.

    Examples:
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
            if name == "none":
                raise Refused("a candidate of a Choice cannot be called 'none', which stands for no operation at all")
            if "." in name or hasattr(nn.ModuleDict, name):
                raise Refused(f"a candidate of a Choice cannot be called {name!r}, which torch.nn.ModuleDict refuses")
            if not isinstance(candidate, nn.Module):
                raise Refused(
                    f"candidate {name!r} of a Choice must be a torch.nn.Module, got {type(candidate).__name__}"
                )
        self.candidates = nn.ModuleDict(named)
        self.group = group
        self.register_buffer("mixture", torch.full((len(named),), 1 / len(named)), persistent=False)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return _mixed(list(self.candidates.items()), self.mixture, *inputs, **options)
