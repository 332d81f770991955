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
from poise.data.sample_intake import SampleIntake
from poise.errors import Refused
from poise.export.standardise import places
from poise.extras import check_extra
from poise.spaces.sample_shape import SampleShape
from poise.supernet.trees import Tree, tensors

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
    def intake(self) -> Intake | SampleIntake:
        """How images, or samples, come to the form that it takes. Raises `Refused` if the file does not say it."""

        def read(about: Mapping[str, Any]) -> Intake | SampleIntake:
            said = about["input"]
            if "inputs" in said:
                return SampleIntake(SampleShape.of(said))
            height, width = map(int, said["size"])
            return Intake(int(said["channels"]), (height, width), Pixels.read(said), bool(said["streamed"]))

        return self._read(read)

    def _read(self, read: Callable[[Mapping[str, Any]], T]) -> T:
        try:
            return read(self.about)
        except (KeyError, TypeError, ValueError, OverflowError, Refused):
            raise Refused(
                f"{self.path} does not say what it takes and gives; export the network again as onnx"
            ) from None

    def forward(self, inputs: Tree) -> Tensor:
        """The finished outputs for what the intake gives: pixels ``[n, channels, height, width]``, uint8, which are
        divided by 255, or floats in the unit that the file says; or a tree of samples as they come."""
        taken = {each.name for each in self.runs.get_inputs()}  # what the network does not use is left out of it
        fed = {name: values.numpy() for name, values in self._named(inputs).items() if name in taken}
        return torch.from_numpy(self.runs.run(None, fed)[0])

    def _named(self, inputs: Tree) -> dict[str, Tensor]:
        intake = self.intake
        if isinstance(intake, SampleIntake):
            given = [values.float() if values.is_floating_point() else values for values in tensors(inputs)]
            return dict(zip(places(intake.shape.inputs), given, strict=True))
        return {"images": inputs / 255 if inputs.dtype == torch.uint8 else inputs.float()}
