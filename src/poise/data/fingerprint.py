"""Data as one short text: the same for the same data, so that a run can tell that it has changed."""

from __future__ import annotations

import json
from hashlib import sha256

import torch

from poise.data.images import Images
from poise.data.samples import Samples
from poise.supernet.trees import tensors


def fingerprint(*parts: Images) -> str:
    """SHA-256 of pixels, labels and class names, in their order; 64 hexadecimal digits."""
    whole = sha256()
    for images in parts:
        pixels, labels = images.pixels.cpu().contiguous(), images.labels.cpu().contiguous()
        about: list[object] = [list(pixels.shape), str(pixels.dtype), images.names]
        if labels.ndim > 1:
            about += [list(labels.shape), str(labels.dtype)]
        whole.update(json.dumps(about).encode("utf-8"))
        whole.update(pixels.numpy().data)
        whole.update(labels.numpy().data)
    return whole.hexdigest()


def samples_fingerprint(*parts: Samples) -> str:
    """The same of inputs, labels and names: of their numbers, dtypes and trees."""
    whole = sha256()
    for samples in parts:
        found = [values.cpu().contiguous() for values in tensors((samples.inputs, samples.labels))]
        about = [samples.shape(None).facts, [[list(v.shape), str(v.dtype)] for v in found], samples.names]
        whole.update(json.dumps(about).encode("utf-8"))
        for values in found:
            whole.update(values.flatten().view(torch.uint8).numpy().data)
    return whole.hexdigest()
