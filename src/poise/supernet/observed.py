"""What the `Choice` layers of a module are called with: their shapes, for checks and for costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from poise.supernet.choice import Choice


class Call(NamedTuple):
    """One call of a layer: ``layer(*inputs, **options)``."""

    inputs: tuple[Any, ...]
    options: Mapping[str, Any]


@contextmanager
def observed(module: nn.Module) -> Iterator[dict[str, list[Call]]]:
    """As long as the context lasts, every call of a `Choice` in the module is noted: dotted path -> calls, in order.

    A `Choice` that is never called has no calls. The calls hold the tensors themselves, so run few images, or none at
    all (on the meta device).
    """
    calls: dict[str, list[Call]] = {}

    def note(path: str, layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        calls[path].append(Call(inputs, options))

    with ExitStack() as hooks:
        for path, layer in module.named_modules():
            if isinstance(layer, Choice):
                calls[path] = []
                hooks.callback(
                    layer.register_forward_pre_hook(partial(note, path), with_kwargs=True).remove,
                )
        yield calls
