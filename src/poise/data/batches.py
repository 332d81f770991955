"""Batches from images that live on the device: shuffled and augmented for training, in order for evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poise.data.augmentation import Augmentation, Draws
from poise.data.batched import Passing, Portioned
from poise.data.images import Images
from poise.data.normalised import Normalised
from poise.data.sending import sent
from poise.supernet.processes import ALONE, Processes

__all__ = ["Augmentation", "Batches"]


class Batches(Portioned):
    """Normalised batches of ``images``.

    A batch is ``(images: [batch, channels, height, width] of dtype, labels: [batch, ...])``, both on ``device``; see
    `Images` for what labels are. Masks are cropped and flipped with their images; beyond the border they hold
    ``outside``.
    Images are ``(value / 255 - mean) / std`` for uint8 pixels and ``(value - mean) / std`` for floats; ``mean`` and
    ``std`` hold one number per channel, in those units. Crop and flip come before normalisation, cutout after. Chance
    is drawn on the generator's device: use a CPU generator, and a seed gives the same batches on every device.

    Raises `Refused` for a mean or std of the wrong length, a std that is not above 0, and fewer images than
    ``batch_size`` with ``drop_last`` (an epoch would be empty).
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        augmentation: Augmentation,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        drop_last: bool = True,
        outside: int = 255,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(len(images), batch_size, drop_last, "images", processes)
        unit = 255.0 if images.pixels.dtype == torch.uint8 else 1.0
        self._normalised = Normalised(
            images.channels, mean, std, unit, device=device, dtype=dtype, channels_last=channels_last
        )
        augmentation.check(images.size)
        self.augmentation = augmentation
        self._size = images.size
        self._pixels = images.pixels.to(device).permute(0, 2, 3, 1).contiguous()  # [n, height, width, channels]
        self._masked = images.masked
        self._labels = (_stored(images.labels, outside) if images.masked else images.labels).to(device)
        self._outside = outside

    def epoch(self, generator: torch.Generator, start: int = 0) -> Passing:
        """Shuffled and augmented batches, from batch ``start`` on.

        The generator advances by the same amount whatever ``start`` is, and at once: first the order of the images is
        drawn, then one seed per batch. So a run that stopped after k batches goes on exactly with the generator's state
        from before the epoch and ``start=k``. Raises `Refused` for a start outside ``0..len(self)``.
        """
        order = self._shuffled(generator, start)
        seeds = torch.randint(2**62, (len(self),), generator=generator, device=generator.device).tolist()
        return self._augmented(order, seeds, start, generator.device)

    def ordered(self) -> Passing:
        """Every image once, in order and not augmented; the last batch may be smaller."""
        for pixels, labels in zip(
            torch.split(self._pixels, self.batch_size), torch.split(self._labels, self.batch_size), strict=True
        ):
            own = self._processes.part(pixels)
            yield self._normalised.finished(self._normalised(own)), self._handed(labels)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first images, in order and not augmented, however many a batch has."""
        return self._normalised.finished(self._normalised(self._pixels[:count])), self._handed(self._labels[:count])

    def _augmented(self, order: Tensor, seeds: list[int], start: int, chance: torch.device) -> Passing:
        for number in range(start, len(seeds)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            private = torch.Generator(chance).manual_seed(seeds[number])
            drawn = self.augmentation.draw(len(chosen), self._size, private)
            index, *moved = sent(torch.stack((chosen, *drawn)), self._labels.device).unbind()  # one transfer
            draws, (own, *own_moved) = Draws(*moved), self._processes.part([index, *moved])
            own_draws = Draws(*own_moved)
            images = self._normalised(self.augmentation.take(self._pixels, own, own_draws))
            yield self._normalised.finished(self.augmentation.cut_out(images, own_draws)), self._taken(index, draws)

    def _taken(self, index: Tensor, draws: Draws) -> Tensor:
        if not self._masked:
            return self._labels.index_select(0, index)
        return self._handed(self.augmentation.take(self._labels[..., None], index, draws, self._outside)[..., 0])

    def _handed(self, labels: Tensor) -> Tensor:
        return labels.long() if self._masked else labels


def _stored(labels: Tensor, outside: int) -> Tensor:
    """Masks in 8 bits, where those are enough: an eighth of the memory."""
    if not len(labels) or min(int(labels.min()), outside) < 0 or max(int(labels.max()), outside) > 255:
        return labels
    return labels.to(torch.uint8)
