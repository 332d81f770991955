"""What a run began with: versions, device, threads."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def environment(device: str) -> dict[str, str]:
    """Name -> value, as people read it; ``device`` as the settings name it."""
    import torch

    found = {"poise": _version("poise"), "Python": platform.python_version(), "torch": str(torch.__version__)}
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    named = torch.cuda.get_device_name() if cuda and torch.cuda.is_available() else device
    system = f"{platform.system()} {platform.machine()}"
    return found | {"device": named, "threads": str(torch.get_num_threads()), "system": system}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
