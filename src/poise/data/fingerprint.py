"""Images as one short text: the same for the same images, so that a run can tell that its data has changed."""

from __future__ import annotations

import json
from hashlib import sha256

from poise.data.images import Images


def fingerprint(*parts: Images) -> str:
    """SHA-256 of pixels, labels and class names, in their order; 64 hexadecimal digits."""
    whole = sha256()
    for images in parts:
        pixels, labels = images.pixels.cpu().contiguous(), images.labels.cpu().contiguous()
        about = [list(pixels.shape), str(pixels.dtype), images.names]
        whole.update(json.dumps(about).encode("utf-8"))
        whole.update(pixels.numpy().data)
        whole.update(labels.numpy().data)
    return whole.hexdigest()
