"""What mixed cells draw: noise, and dropout on skip connections."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from poise.spaces.operations import Noise
from poise.supernet.choice import stochastic
from poise.supernet.draws import Chance


def noise(x: Tensor, stride: int, chance: Chance) -> Tensor:
    """What `Noise` puts out for ``x``, drawn from ``chance``."""
    return _drawn(x[:, :, ::stride, ::stride], lambda *shape: chance.normal(shape, x.dtype))


def dropped(x: Tensor, rate: float, chance: Chance) -> Tensor:
    """Every entry 0 with probability ``rate``, else divided by ``1 − rate``; ``x`` itself where the rate is 0."""
    return x * _drawn(x, lambda *shape: chance.kept(shape, rate)) / (1 - rate) if rate else x


def _drawn(like: Tensor, draw: Callable[..., Tensor]) -> Tensor:
    """Numbers in the shape and the layout of ``like``."""
    batch, channels, height, width = like.shape
    if like.stride(1) == 1:  # channels last
        return draw(batch, height, width, channels).permute(0, 3, 1, 2)
    return draw(batch, channels, height, width)


def only_given(supernet: nn.Module) -> bool:
    """Whether a supernet of mixed cells draws from what it is given alone: no operation of others draws by itself."""
    return not any(stochastic(part) and not isinstance(part, Noise) for part in supernet.modules())
