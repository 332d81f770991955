"""A network that was exported as ONNX, ready to run: what it says of itself, and its forward pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from poise.data.intake import Intake
from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.errors import Refused
from poise.extras import check_extra

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """An ``.onnx`` file that poise wrote.

    Args:
        path: of the file.
        about: its metadata, see `poise.export.card.Card`.
        runs: a session of onnxruntime.
    """

    path: Path
    about: Mapping[str, Any]
    runs: Any

    @staticmethod
    def open(path: Path) -> Session:
        """Raises `Refused` if onnxruntime is missing, or this is no such file."""
        check_extra("predict", f"predicting with {path.name}")
        import onnxruntime

        if not path.is_file():
            raise Refused(f"no such file: {path}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; of what it makes faster nobody has to know
        try:
            runs = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            told = runs.get_modelmeta().custom_metadata_map
            about = {name: json.loads(text) for name, text in told.items()}
        except (ValueError, RecursionError):
            raise Refused(f"{path} has metadata that poise did not write") from None
        except Exception as error:  # the runtime has errors of its own, which share no base
            raise Refused(f"{path} is no ONNX file that can be run: {error}") from None
        return Session(path, about, runs)

    @property
    def seen(self) -> Seen:
        """What is known of the labels that it was trained on. Raises `Refused` if the file does not say it."""
        return self._read(lambda about: Seen.of(about["labels"]))

    @property
    def intake(self) -> Intake:
        """How images come to the form that it takes. Raises `Refused` if the file does not say it."""

        def read(about: Mapping[str, Any]) -> Intake:
            said = about["input"]
            height, width = map(int, said["size"])
            return Intake(int(said["channels"]), (height, width), Pixels.read(said), bool(said["streamed"]))

        return self._read(read)

    def _read(self, read: Callable[[Mapping[str, Any]], T]) -> T:
        try:
            return read(self.about)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise Refused(
                f"{self.path} does not say what it takes and gives; export the network again as onnx"
            ) from None

    def forward(self, images: Tensor) -> Tensor:
        """The finished outputs for pixels ``[n, channels, height, width]``: uint8, which are divided by 255, or floats
        in the unit that the file says."""
        inputs = images / 255 if images.dtype == torch.uint8 else images.float()
        (taken,) = self.runs.get_inputs()
        return torch.from_numpy(self.runs.run(None, {taken.name: inputs.numpy()})[0])
