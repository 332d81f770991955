"""Where a run computes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from poise.engine.device import Place
from poise.errors import Refused


def have(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> list[torch.device]:
    """Be a machine with so many CUDA devices, and with Apple's or not; the ones that were chosen."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    return chosen


def test_auto_is_the_best_device_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.engine.device.round_products", lambda tf32: None)
    for cuda, mps, expected in ((0, False, "cpu"), (2, False, "cuda:0"), (0, True, "mps:0")):
        chosen = have(monkeypatch, cuda, mps)
        assert Place.open("auto").device == torch.device(expected)
        assert chosen == ([torch.device("cuda", 0)] if cuda else [])


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    have(monkeypatch)
    with pytest.raises(Refused, match=f"device '{device}' is not available here"):
        Place.open(device)


def test_networks_compute_and_make_tensors_in_the_precision() -> None:
    layer, before = torch.nn.Linear(2, 2), torch.get_default_dtype()
    expected = {
        "32": (torch.float32, torch.float32),
        "64": (torch.float64, torch.float64),
        "bf16-mixed": (torch.bfloat16, torch.float32),
    }
    for precision, (computed, made) in expected.items():
        place = Place.open("cpu", precision)
        network = place.put(layer)
        with place.autocast():
            found = torch.ones(2)
            assert (network(found.to(place.dtype)).dtype, found.dtype) == (computed, made)
        assert torch.get_default_dtype() == before


@pytest.mark.parametrize("newest", [True, False])
def test_on_cuda_float32_is_rounded_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, newest: bool) -> None:
    have(monkeypatch, cuda=1)
    name = "fp32_precision" if newest else "allow_tf32"
    matrices, convolutions = SimpleNamespace(**{name: None}), SimpleNamespace(**{name: None})
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
