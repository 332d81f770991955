"""What goes to a GPU goes by way of pinned memory; elsewhere nothing changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from poise.data.sending import sent


def test_on_the_cpu_it_is_the_same_tensor() -> None:
    values = torch.arange(3)
    assert sent(values, "cpu") is values
    assert sent(values, torch.device("meta")).is_meta


def test_to_a_gpu_it_goes_pinned_and_unwaited_for() -> None:
    calls: list[Any] = []

    class Sent(Tensor):
        def pin_memory(self, device: Any = None) -> Any:
            calls.append("pinned")
            return self

        def to(self, *where: Any, **how: Any) -> Any:
            calls.append((*where, how))
            return self

    values = torch.arange(3).as_subclass(Sent)
    assert sent(values, "cuda") is values
    assert calls == ["pinned", ("cuda", {"non_blocking": True})]
