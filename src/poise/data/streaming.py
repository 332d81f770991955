"""Images that stay where they are until they are needed: read, decoded and cropped by processes beside the training."""

from __future__ import annotations

import atexit
import ctypes
import json
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from poise.data.augmentation import Augmentation
from poise.data.batched import Passing, Portioned
from poise.data.crops import Middle, RandomPart
from poise.data.decode import picture, quiet
from poise.data.images import Images
from poise.data.normalised import Normalised
from poise.data.parts import EncodedPart
from poise.data.sending import sent
from poise.errors import Refused
from poise.supernet.processes import ALONE, Processes

WORKERS = 2
"""Processes that decode, unless asked otherwise."""

PR_SET_PDEATHSIG = 1
"""Number of an option of prctl(2): the signal that a process gets when its parent ends."""
ASKING = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a run to stop."""

SAMPLE = 1024
"""Images that mean and standard deviation are taken from."""


Cropped: TypeAlias = Middle | RandomPart
"""What makes pixels ``[size, size, channels]`` of an image of any size, and a seed."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """The images of one split, still encoded, and of any size; with ``channels`` 1 or 3 once they are decoded."""

    part: EncodedPart
    names: tuple[str, ...]
    channels: int

    def __len__(self) -> int:
        return len(self.part.labels)

    @property
    def labels(self) -> Tensor:
        """``[n, ...]``."""
        return self.part.labels

    def sample(self, size: int) -> Images:
        """The middles of `SAMPLE` evenly spaced images, or of all if there are no more."""
        count = min(SAMPLE, len(self))
        rows = [len(self) * index // count for index in range(count)]
        pixels = np.stack([self.pixels([(row, 0)], Middle(size))[0] for row in rows])
        return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.part.labels[rows], self.names)

    def pixels(self, keys: Sequence[tuple[int, int]], use: Cropped) -> NDArray[np.uint8]:
        """The images of ``(row, seed)`` pairs, cropped: ``[n, size, size, channels]``. Raises `Refused`, naming it, for
        an image that cannot be read."""
        if not keys:
            return np.empty((0, use.size, use.size, self.channels), np.uint8)
        with quiet():
            items = self.part.fetch([row for row, _ in keys])
            return np.stack(
                [
                    picture(item, self.channels, partial(use, seed=seed))
                    for item, (_, seed) in zip(items, keys, strict=True)
                ]
            )


def streamed_fingerprint(*splits: Streamed) -> str:
    """SHA-256 of class names, labels and the lengths of all files, in their order: no image is read, and it does not
    matter where the files are."""
    whole = sha256()
    for split in splits:
        labels = split.part.labels
        more = [list(labels.shape), str(labels.dtype)] if labels.ndim > 1 else []
        whole.update(json.dumps(["streamed", len(split), split.channels, split.names, *more]).encode("utf-8"))
        whole.update(labels.numpy().tobytes())
        whole.update(np.fromiter((item.length() for item in split.part.all()), np.int64).tobytes())
    return whole.hexdigest()


class StreamedBatches(Portioned):
    """Normalised batches of streamed images, as `Batches` of images in memory: ``(value / 255 - mean) / std``.

    An image's crop is drawn from a seed of its own, and seeds and order from the generator given, so that neither the
    number of workers nor the batch that an epoch begins with changes a bit of any batch.

    Args:
        images: one split.
        batch_size: images per batch.
        part: what training sees of an image.
        cutout: see `Augmentation`.
        workers: processes that read and decode; 0: none, it is done in between.
        drop_last: whether an epoch leaves out a last batch that is not full.
    """

    def __init__(
        self, images: Streamed, batch_size: int, *, part: RandomPart, mean: Sequence[float], std: Sequence[float],
        device: torch.device | str, dtype: torch.dtype = torch.float32, channels_last: bool = True, cutout: int = 0,
        workers: int = WORKERS, drop_last: bool = True, processes: Processes = ALONE,
    ) -> None:  # fmt: skip
        super().__init__(len(images), batch_size, drop_last, "images", processes)
        self._images = images
        self._part, self._middle = part, Middle(part.size)
        self._cutout = Augmentation(cutout=cutout)
        self._cutout.check((part.size, part.size))
        self._normalised = Normalised(
            images.channels, mean, std, 255.0, device=device, dtype=dtype, channels_last=channels_last
        )
        self._device = device
        self._workers = workers

    def epoch(self, generator: torch.Generator, start: int = 0) -> Passing:
        """Shuffled and augmented batches, from batch ``start`` on; those before it are not read.

        The generator advances by the same amount whatever ``start`` is, and at once. Raises `Refused` for a start
        outside ``0..len(self)``.
        """
        order = self._shuffled(generator, start)
        seeds = torch.randint(2**62, (self._count,), generator=generator)
        first, last = start * self.batch_size, len(self) * self.batch_size
        return self._passing(order[first:last], seeds, self._part, self._cutout)

    def ordered(self) -> Passing:
        """The middle of every image once, in order; the last batch may be smaller."""
        everything = torch.arange(self._count)
        return self._passing(everything, torch.zeros_like(everything), self._middle)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The middles of the first images, however many a batch has."""
        rows = list(range(min(count, self._count)))
        pixels = self._images.pixels([(row, 0) for row in rows], self._middle)
        return self._finished(pixels, 0, len(rows)), self._images.part.labels[rows].to(self._device)

    def _passing(self, order: Tensor, seeds: Tensor, use: Cropped, cutout: Augmentation | None = None) -> Passing:
        """The images at ``order``, each with its own of all ``seeds``."""

        batches = torch.split(order, self.batch_size) if len(order) else ()

        def plan() -> Iterator[list[tuple[int, int]]]:
            for rows in map(self._processes.part, batches):
                yield list(zip(rows.tolist(), seeds[rows].tolist(), strict=True))

        loader = DataLoader(
            _Reading(self._images, use),
            batch_sampler=plan(),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            worker_init_fn=_begin,
            multiprocessing_context=_context() if self._workers else None,
            generator=torch.Generator(),  # it draws a seed that nobody uses; not from the run's own generator
        )
        with _unheard():  # what a worker begins with it keeps
            held = [iter(loader)]
        atexit.register(held.clear)  # or the interpreter would wait for workers that wait for it
        try:
            for rows in batches:
                pixels = next(held[0])
                if isinstance(pixels, str):
                    raise Refused(pixels)
                seed = int(seeds[rows[0]])
                yield (
                    self._finished(pixels, seed, len(rows), cutout),
                    sent(self._images.part.labels[rows], self._device),
                )
        finally:  # not when the last who holds an error lets go of its traceback
            held.clear()
            atexit.unregister(held.clear)

    def _finished(self, pixels: NDArray[np.uint8], seed: int, count: int, cutout: Augmentation | None = None) -> Tensor:
        """Of a batch of ``count``, this process's rows."""
        images = self._normalised(sent(torch.from_numpy(pixels), self._device))
        if cutout is not None and cutout.cutout:
            draws = cutout.draw(count, (images.shape[1], images.shape[2]), torch.Generator().manual_seed(seed))
            own = self._processes.part(torch.stack(draws, dim=1)).T.contiguous()
            images = cutout.cut_out(images, type(draws)(*sent(own, self._device).unbind()))
        return self._normalised.finished(images)


class _Reading(Dataset[Any]):
    """What a worker does: a batch of keys to pixels, or to the words of a refusal.

    Pixels travel as NumPy arrays, which go through a pipe: tensors would need shared memory, of which containers often
    have little.
    """

    def __init__(self, images: Streamed, use: Cropped) -> None:
        self._images = images
        self._use = use

    def __getitems__(self, keys: list[tuple[int, int]]) -> NDArray[np.uint8] | str:
        try:
            return self._images.pixels(keys, self._use)
        except Refused as refusal:
            return str(refusal)  # an error would arrive with the worker's traceback in it


def _as_it_is(found: Any) -> Any:
    return found


@contextmanager
def _unheard() -> Iterator[None]:
    """Signals that ask to stop wait outside."""
    if not hasattr(signal, "pthread_sigmask"):  # there are no such signals either
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(worker: int) -> None:
    """A worker hears no signals: who asks a run to stop often asks all its processes, and the run ends its workers once
    it has saved its state. No worker outlives a run that is killed."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _context() -> Any:
    """Forked workers start at once and share what is read already; elsewhere, what the system has."""
    return multiprocessing.get_context("fork" if sys.platform.startswith("linux") else None)


@contextmanager
def workers_explained() -> Iterator[None]:
    """Turn the sudden end of a worker, which is noticed anywhere, into a `Refused`."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise Refused(
            "a process that reads images was ended from outside, perhaps for want of memory; what was checkpointed is "
            "whole, so the run can go on; data.workers sets how many there are"
        ) from None
