"""One checked .onnx file with a free batch size, for any runtime that reads ONNX."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from poise.errors import Refused
from poise.export.card import Card
from poise.export.exports import EXPORTS, lean, target
from poise.export.standardise import Placed, places
from poise.extras import check_extra
from poise.spaces.sample_shape import SampleShape
from poise.supernet.trees import tensors

if TYPE_CHECKING:
    from onnx import GraphProto


@EXPORTS.add("onnx")
def export_onnx(network: nn.Module, path: Path, card: Card) -> list[Path]:
    """Input ``images [batch, channels, height, width]``, or of samples one input for each of their tensors, named by
    their places; output ``outputs [batch, ...]``; any batch size.

    The model's metadata holds ``genotype``, ``task``, ``labels`` and ``input``, all JSON; its documentation says the
    last in words.
    """
    check_extra("onnx", "an export to onnx")
    import onnx

    network = lean(network, card)
    file = target(path, ".onnx")
    shape, what, names = card.inputs.shape, "images", ["images"]
    inputs: tuple[Any, ...] = (shape.zeros(2),)
    batch: Any = {0: torch.export.Dim("batch")}
    shapes: Any = (batch,)
    if isinstance(shape, SampleShape):
        network = Placed(network, shape)
        inputs, what, names = tuple(tensors(shape.zeros(2))), "samples", places(shape.inputs)
        shapes = {"inputs": (batch,) * len(inputs)}
    with _quiet():
        program = torch.onnx.export(
            network,
            inputs,
            input_names=names,
            output_names=["outputs"],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise Refused("the network cannot be written as ONNX")
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise Refused(
            "the network works on a fixed number of inputs once it is ONNX, since it makes a plain number of its "
            "batch's size, as len(x) does; x.shape[0] stays free"
        )
    _anonymise(model.graph)
    onnx.helper.set_model_props(model, card.metadata)
    model.doc_string = f"Takes {what} {card.inputs.text}. Gives {card.output_text}."
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(file))
    return [file]


def _anonymise(graph: GraphProto) -> None:
    """Drop the exporter's notes on every node: stack traces, which hold this machine's paths and most of the bytes."""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del graph.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's log and warnings off the screen: they are about packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
