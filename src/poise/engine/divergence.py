"""Numbers that are no numbers: noticed in the step that makes them, before any optimizer takes them up.

Whether all losses and gradients were finite is a flag on the device. From the first fault on it withholds every update
(it is the ``found_inf`` of the fused optimizers): weights, alphas and what optimizers remember stay as they were before
the fault, and nobody need wait to find out. The flag is read after every step on a CPU; on a GPU every few steps,
without waiting; and always at the end of an epoch and before anything is saved. What there is to say of the fault stays
on the device until then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from poise.engine.sgd import FUSED
from poise.errors import Refused

EVERY = 16
"""Steps after which a GPU is asked again."""


class Diverged(Refused):
    """A loss or a gradient is not finite, in all processes alike. The last checkpoint is from before."""

    alike = True


class Look(NamedTuple):
    """What the host knows of a look before it is taken: which gradients ``what`` is about, ``where`` in the training it
    is, such as ``the alphas' step 3 of epoch 2``, and what may help."""

    what: str
    where: str
    advice: str


class Watch:
    """Looks at losses and gradients, on the device.

    Args:
        device: where they are.
        every: steps after which the flag is read; None: as the header says.
        waits: whether it is waited for: several processes have to know at the same step.

    ``fault`` is the flag: 0, and 1 from the first fault on.
    """

    def __init__(self, device: torch.device, every: int | None = None, waits: bool = False) -> None:
        self.every = every or (EVERY if device.type == "cuda" else 1)
        self.fault = torch.zeros((), device=device)
        self._well = torch.zeros((), dtype=torch.int64, device=device)  # how many looks found nothing
        self._names: dict[str, list[str]] = {}
        self._kept: dict[str, Tensor] = {}  # loss and norms of the last look, or of the one that found the fault
        self._steps = 0
        self._waits = waits
        self._clear()

    def _clear(self) -> None:
        self._announced: list[Look] = []  # all but the first `_forgotten`, which are known to have found nothing
        self._forgotten = 0
        self._answer: _Answer | None = None

    def clear(self) -> None:
        """Forget a fault: the training goes on from elsewhere."""
        self.fault.zero_()
        self._well.zero_()
        self._clear()

    def announce(self, look: Look) -> None:
        """The host's part of a look: before the step in which it is taken."""
        self._announced.append(look)

    @torch.no_grad()
    def look(self, what: str, loss: Tensor, names: Sequence[str], norms: Tensor) -> Tensor:
        """The device's part of a look: sets the flag unless loss and gradients are finite.

        Args:
            what: as announced.
            loss: a scalar.
            names: of the gradients.
            norms: of the gradients, ``[gradients]``.

        Returns:
            The norm of all of them together.
        """
        size = norms.norm()
        now = torch.cat([loss.to(norms).view(1), norms])
        if self._names.get(what) != names:
            self._names[what], self._kept[what] = list(names), torch.zeros_like(now)
        kept = self._kept[what]
        kept.copy_(torch.where(self.fault > 0, kept, now))
        self.fault.add_(((loss + size) * 0).ne(0)).clamp_(max=1)  # 0·x is 0, or no number
        self._well.add_(self.fault == 0)
        if self.fault.device.type not in FUSED:
            self._read()  # no optimizer there withholds an update
        return size

    def visit(self) -> None:
        """After every step. Raises `Diverged` if it is known by now that something was not finite."""
        self._steps += 1
        if self._steps % self.every:
            return
        if self.every == 1 or self._waits:
            self.check()
        else:
            answer = self._answer
            if answer is None or answer.known():
                if answer is not None:
                    if answer.value:
                        self._read()
                    self._forget(answer.looks)
                self._answer = _Answer(self.fault, self._forgotten + len(self._announced))

    def check(self) -> None:
        """Between two steps: raises `Diverged` if anything was not finite. Waits for the device."""
        self._read()
        self._forget(self._forgotten + len(self._announced))
        self._answer = None

    def _forget(self, looks: int) -> None:
        del self._announced[: looks - self._forgotten]
        self._forgotten = looks

    def _read(self) -> None:
        if self.fault.device.type == "meta" or not self.fault:  # nothing is known there
            return
        what, where, advice = self._announced[int(self._well) - self._forgotten]
        loss, *norms = self._kept[what].tolist()
        bad = [name for name, norm in zip(self._names[what], norms, strict=True) if not math.isfinite(norm)]
        seen = f"the loss is {loss:.4g}, the gradients' size {float(self._kept[what][1:].norm()):.4g}"
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            seen += f", not finite in {bad[0]}{more}"
        raise Diverged(f"diverged in {where}: {seen}; {advice}")


class _Answer:
    """What the flag is after the first ``looks`` looks, on its way from the device."""

    def __init__(self, fault: Tensor, looks: int) -> None:
        self.looks = looks
        self.value = torch.empty((), pin_memory=fault.is_cuda)
        self.value.copy_(fault, non_blocking=True)
        self.known = passed(fault.device)


def passed(device: torch.device) -> Callable[[], bool]:
    """Asks whether a device has done what it has been given so far."""
    if device.type != "cuda":
        return lambda: True
    event = torch.cuda.current_stream(device).record_event()
    return lambda: bool(event.query())


def norms_of(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of each of these: ``[gradients]``."""
    return torch.stack(torch._foreach_norm(list(gradients)))
