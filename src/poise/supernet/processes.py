"""Sums over processes, as autograd sees them: one search on many devices.

Every process has all weights and alphas, and its rows of each batch. What is computed of these rows is a part of the
whole; what is computed of the sums of all parts is the same in every process. Three operations lead from one to the
other, and nothing but losses, normalisations and gradients has to know of them:

    shared   x ↦ x             backward: the sum of all gradients     from what all have to the parts
    whole    x ↦ Σ_r x_r       backward: the gradient as it is        from the parts to what all have
    total    x ↦ Σ_r x_r       backward: the sum of all gradients     from parts to parts, as a batch's statistics

Each can be differentiated again. ``total`` is not ``shared`` after ``whole``: that has the same gradient, but not the
same gradient's gradient, since what it gives is used for parts. A loss whose weights go in through ``shared`` and that
comes out through ``whole`` has in every process the value and the gradients of one process that has the whole batch.
What is summed goes in one flat bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from poise.errors import Echoed, Refused
from poise.supernet.draws import Chance, Shape
from poise.supernet.trees import Tree, mapped

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Those that compute together; ``rank`` says which of the ``count`` this one is. `ALONE` is none but this one, and
    then nothing is sent."""

    rank: int = 0
    count: int = 1

    @staticmethod
    def here() -> Processes:
        """Those of `torch.distributed`, where this process has joined any."""
        if not (dist.is_available() and dist.is_initialized()):
            return ALONE
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def alone(self) -> bool:
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's rows of a batch of ``count``: as even as can be, those with one more first."""
        least, more = divmod(count, self.count)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def part(self, batch: Tree) -> Tree:
        """This process's rows of tensors ``[count, ...]``."""
        return batch if self.alone else mapped(lambda values: values[self.rows(len(values))], batch)

    def shared(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The same values; their gradients are sums over all processes."""
        moved = {} if self.alone else {name: value for name, value in values.items() if value.requires_grad}
        if not moved or not torch.is_grad_enabled():
            return values
        return {**values, **dict(zip(moved, _Shared.apply(*moved.values()), strict=True))}  # type: ignore[no-untyped-call]

    def whole(self, part: Tensor) -> Tensor:
        """The sum of all parts; from here on every process computes the same."""
        return part if self.alone else _Whole.apply(part)  # type: ignore[no-untyped-call]

    def total(self, part: Tensor) -> Tensor:
        """The sum of all parts, of which every process computes its part again."""
        return part if self.alone else _Total.apply(part)  # type: ignore[no-untyped-call]

    def each(self, part: Tensor) -> Tensor:
        """The parts of all, ``[processes, ...]``, differentiable as `total`."""
        places = part.new_zeros(self.count, *(1 for _ in part.shape))
        places[self.rank] = 1
        return self.total(places * part)

    @torch.no_grad()
    def gathered(self, rows: Tree, count: int) -> Tree:
        """All rows of a batch of ``count``, of each process's; without gradient."""

        def filled(values: Tensor) -> Tensor:
            all_rows = values.new_zeros(count, *values.shape[1:])
            all_rows[self.rows(count)] = values
            return _summed(all_rows)

        return rows if self.alone else mapped(filled, rows)

    @torch.no_grad()
    def summed(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Their sums over all processes, in one bucket; without gradient."""
        return list(parts) if self.alone or not parts else _apart(_summed(_flat(parts)), parts)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.alone else bool(_summed(torch.tensor(int(flag))))

    def least(self, value: int) -> int:
        """The least of all processes' values, which are not negative."""
        return value if self.alone else int(self.each(torch.tensor(value)).min())

    def same(self, value: T) -> T:
        """The first process's value, whatever this one's is; something that can be pickled."""
        if self.alone:
            return value
        found: list[Any] = [value]
        dist.broadcast_object_list(found, src=0)
        answer: T = found[0]
        return answer

    def led(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the first process, for all; the others do not do it. Something that can be pickled.
        What it refuses all refuse."""
        if self.alone:
            return work()
        answer: Any = None
        if self.first:
            try:
                answer = work(), None
            except Refused as refusal:
                self.same((None, str(refusal)))
                raise
        found, refused = self.same(answer)
        if refused is not None:
            raise Echoed(refused)
        return found

    def together(self, work: Callable[[], T]) -> T:
        """What ``work`` gives here. Where one process refuses, all do."""
        if self.alone:
            return work()
        found: Any = None
        refused: str | None = None
        try:
            found = work()
        except Refused as refusal:
            refused = str(refusal)
        refusals: list[str | None] = [None] * self.count
        dist.all_gather_object(refusals, refused)
        for rank, text in enumerate(refusals):
            if text is not None:
                raise (Refused if self.first else Echoed)(f"process {rank}: {text}" if rank else text)
        return found

    def check_same(self, values: Mapping[str, Tensor], where: str) -> None:
        """Raise `Refused`, in all of them, unless the values are the same to the last bit in every process."""
        if self.alone:
            return
        digest = hashlib.sha256()
        for value in values.values():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        numbers = self.each(torch.tensor(int.from_bytes(digest.digest()[:7], "big"))).tolist()
        other = [rank for rank, number in enumerate(numbers) if number != numbers[0]]
        if other:
            raise (Refused if self.first else Echoed)(
                f"{where} alphas and weights of process {other[0]} are not those of process 0, so the result would "
                "depend on which one is asked; the last checkpoint is process 0's. Do all processes have the same "
                "poise, torch and data?"
            )


ALONE = Processes()


def of_rows(chance: Chance, processes: Processes, count: int) -> Chance:
    """The random numbers of this process's rows of a batch of ``count``."""
    return chance if processes.alone else _OfRows(chance, processes, count)


class _OfRows:
    """Draws for all rows, and hands out some: what one process that has the whole batch draws. Satisfies `Chance` for a
    module that draws ``[rows, ...]`` only."""

    def __init__(self, chance: Chance, processes: Processes, count: int) -> None:
        self._chance, self._rows, self._count = chance, processes.rows(count), count

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return self._chance.uniform((self._count, *shape[1:]), dtype)[self._rows]

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return self._chance.normal((self._count, *shape[1:]), dtype)[self._rows]

    def kept(self, shape: Shape, drop: float) -> Tensor:
        return self._chance.kept((self._count, *shape[1:]), drop)[self._rows]


def _summed(part: Tensor) -> Tensor:
    found = part.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(found)
    return found


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _apart(flat: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True)]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        found: Tensor = _Total.apply(gradient)  # type: ignore[no-untyped-call]
        return found


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # what a loss does not depend on has no gradient, not one of zeros
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        found = [gradient for gradient in gradients if gradient is not None]
        sums = iter(_apart(_Whole.apply(_flat(found)), found))  # type: ignore[no-untyped-call]
        return tuple(None if gradient is None else next(sums) for gradient in gradients)
