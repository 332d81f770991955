"""Numbers that are no numbers: found within the step that makes them, before any optimizer takes them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from poise.errors import Refused


class Diverged(Refused):
    """A loss or a gradient is not finite. The last checkpoint is from before."""


def check_finite(
    loss: Tensor, size: Tensor, gradients: Callable[[], Mapping[str, Tensor]], where: str, advice: str
) -> None:
    """Raise `Diverged` unless the loss and the gradients are finite; waits for the device once.

    Args:
        size: a scalar that is finite only if the gradients are, such as their norm.
        gradients: by name, to say which it is; asked for only then.
        where: what was being done, such as ``the alphas' step 3 of epoch 2``.
        advice: what may help.
    """
    if torch.isfinite(loss.detach() + size):
        return
    bad = [name for name, values in gradients().items() if not torch.isfinite(values).all()]
    seen = f"the loss is {float(loss.detach()):.4g}, the gradients' size {float(size):.4g}"
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        seen += f", not finite in {bad[0]}{more}"
    raise Diverged(f"diverged in {where}: {seen}; {advice}")
