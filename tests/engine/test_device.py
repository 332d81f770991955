"""Where a run computes."""

from __future__ import annotations

from types import SimpleNamespace

import lightning_fabric
import pytest
import torch

from poise.engine.device import Place


@pytest.mark.parametrize("newest", [True, False])
def test_on_cuda_float32_is_rounded_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, newest: bool) -> None:
    class Fabric:
        def __init__(self, **given: object) -> None:
            self.device = torch.device("cuda")

    name = "fp32_precision" if newest else "allow_tf32"
    matrices, convolutions = SimpleNamespace(**{name: None}), SimpleNamespace(**{name: None})
    monkeypatch.setattr(lightning_fabric, "Fabric", Fabric)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matrices)
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(conv=convolutions) if newest else convolutions)
    for precision, wanted in (("32", "ieee"), ("tf32", "tf32"), ("bf16-mixed", "ieee")):
        place = Place.open("cuda", precision)
        assert place.dtype == torch.float32
        assert not place.channels_last
        expected = wanted if newest else wanted == "tf32"
        assert [getattr(each, name) for each in (matrices, convolutions)] == [expected, expected]


def test_on_a_cpu_nothing_is_switched() -> None:
    before = torch.backends.cudnn.allow_tf32
    place = Place.open("cpu", "tf32")
    assert place.dtype == torch.float32
    assert place.channels_last
    assert torch.backends.cudnn.allow_tf32 == before
