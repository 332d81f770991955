"""Calls that leave what a module is given as it was, whatever the module does in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.errors import Refused
from poise.supernet.trees import mapped, tensors

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)
HANDS_ON = (nn.Identity, nn.Flatten, nn.Unflatten, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle, *DROPOUTS)
"""Modules of torch whose output may be their input, or a view of it."""
UNKEPT = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
"""Modules of torch that do not keep their output for their gradient, which activations do."""

KNOWN = "_poise_writes"
"""The attribute that keeps what was found out about a module: mode (training or not) -> whether it writes."""


def intact(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """``module(*inputs, **options)``, with all tensors, lists and dicts that it is given left as they are.

    A module that writes into them gets copies. Whether it does is tried out before its first call in each mode
    (training, evaluation), see `_writes`: all its calls are then alike to the last bit, and the others cost none.

    Raises:
        Refused: the module writes now, and did not when it was tried.
    """
    if torch.is_inference_mode_enabled() or any(tensor.is_inference() for tensor in _tensors(inputs, options)):
        inputs, options = copied(inputs, options)  # nothing tells here whether it writes
        return module(*inputs, **options)
    known: dict[bool, bool] = module.__dict__.setdefault(KNOWN, {})
    mode = module.training
    if mode not in known:
        known[mode] = _writes(module, inputs, options)
    if known[mode]:
        inputs, options = copied(inputs, options)
        return module(*inputs, **options)
    if not all(isinstance(value, Tensor) for value in (*inputs, *options.values())):
        inputs, options = mapped(_itself, (inputs, options))  # it may change a dict that it is given, or a list
    given = _tensors(inputs, options)
    before = [tensor._version for tensor in given]
    output = module(*inputs, **options)
    if [tensor._version for tensor in given] != before:
        raise Refused(
            f"{type(module).__name__} writes into what it is given, which it did not at first; let it work on a copy"
        )
    return output


def _writes(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a module writes into what it is given, tried on copies: buffers and random numbers stay as they are, and
    no gradient learns of it. True of a `torch.jit.ScriptModule`, which cannot be tried so."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    devices = [tensor.device for tensor in _tensors(inputs, options) if tensor.device.type == "cuda"]
    cache = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # it would hand on weights without gradients
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            inputs, options = copied(inputs, options)
            given = _tensors(inputs, options)
            before = [tensor._version for tensor in given]
            functional_call(module, {name: value.clone() for name, value in module.named_buffers()}, inputs, options)
            return [tensor._version for tensor in given] != before
    finally:
        torch.set_autocast_cache_enabled(cache)


def copied(inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same with every tensor replaced by a copy that gradients flow through."""
    copies: dict[int, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:  # what is given twice stays one tensor
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.clone()
        return copies[id(tensor)]

    found: tuple[tuple[Any, ...], dict[str, Any]] = mapped(copy, (inputs, options))
    return found


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def keep_intact(module: nn.Module) -> None:
    """Let ``module`` work on copies of what it is given from now on, unless it surely neither writes into its inputs
    nor hands them on as its output; and, where gradients are wanted, put out a copy, unless its own are surely not what
    it needs for its gradient. So others may write into what it puts out, as into a mixed sum.

    A `torch.jit.ScriptModule` takes no hooks, and stays as it is.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return
    if not _detached(module) and _copying not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_copying, with_kwargs=True)
    last = module
    while type(last) is nn.Sequential and len(last):
        last = last[-1]
    if not isinstance(last, UNKEPT) and _copied_output not in module._forward_hooks.values():
        module.register_forward_hook(_copied_output)


def _copying(
    module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return copied(inputs, options)


def _copied_output(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    return output.clone() if isinstance(output, Tensor) and output.requires_grad else output


def _detached(module: nn.Module) -> bool:
    """Whether what it puts out is new memory, and what it is given stays as it is; False where that is not known."""
    if type(module) is nn.Sequential:
        for child in module:
            if _detached(child):
                return True
            if not _plain(child) or getattr(child, "inplace", False):
                return False
        return False
    return _plain(module) and not isinstance(module, HANDS_ON) and not getattr(module, "inplace", False)


def _plain(module: nn.Module) -> bool:
    """Whether it is a layer of torch's own."""
    return type(module).__module__.startswith("torch.nn.modules.") and not list(module.children())


def _tensors(inputs: tuple[Any, ...], options: dict[str, Any]) -> list[Tensor]:
    if len(inputs) == 1 and isinstance(inputs[0], Tensor) and not options:
        return [inputs[0]]
    return tensors((inputs, options))
