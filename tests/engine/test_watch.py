"""Numbers that are no numbers: named, whenever they are read, and nothing has moved since."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_support import States, searcher
from torch import nn

from poise.engine.checkpoint import encode
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.divergence import Diverged, Look, Watch, norms_of, passed
from poise.engine.events import Stepped
from poise.engine.search import search
from poise.engine.sgd import optimizer_state
from poise.supernet.choice import Choice
from poise.supernet.supernet import ModuleSupernet


def watching(every: int = 1, device: str = "cpu") -> Any:
    """A watch, and a step that looks at gradients ``a``, ``b`` and ``c``."""
    watch = Watch(torch.device(device), every)

    def step(number: int, loss: float = 1.0, **bad: float) -> None:
        watch.announce(Look("weights", f"step {number}", "advice"))
        watch.announce(Look("alphas", f"the alphas' step {number}", "advice"))
        gradients = {name: torch.tensor([0.0, bad.get(name, 3.0)], device=device) for name in "abc"}
        size = watch.look("weights", torch.tensor(loss, device=device), list(gradients), norms_of(gradients.values()))
        assert device == "meta" or bad or float(size) == pytest.approx(27**0.5)
        watch.look("alphas", torch.tensor(1.0, device=device), ["d"], torch.ones(1, device=device))
        watch.visit()

    return watch, step


def taken(step: Any, numbers: range, **bad: float) -> None:
    for number in numbers:
        step(number, **bad)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    _, step = watching()
    step(1)
    with pytest.raises(Diverged, match=r"diverged in step 2: the loss is 1, .* not finite in b and 1 more; advice"):
        step(2, b=value, c=value)
    _, step = watching()
    with pytest.raises(Diverged, match=r"step 1: the loss is (nan|-?inf), the gradients' size 5.196; advice"):
        step(1, loss=value)


def test_a_fault_that_is_read_later_is_the_first_one() -> None:
    watch, step = watching(every=2)
    for number in (1, 2, 3, 4, 5):
        step(number, **({"c": torch.nan} if number == 3 else {"a": torch.inf} if number == 5 else {}))
    assert float(watch.fault) == 1
    with pytest.raises(Diverged, match=r"diverged in step 3: the loss is 1, .* not finite in c; advice"):
        step(6)
    with pytest.raises(Diverged, match=r"in step 3:"):
        watch.check()
    watch.clear()
    watch.check()
    step(7)
    with pytest.raises(Diverged, match=r"in step 8:"):
        taken(step, range(8, 12), loss=torch.nan)


def test_what_has_been_read_is_forgotten() -> None:
    watch, step = watching(every=2)
    taken(step, range(100))
    assert len(watch._announced) <= 8
    watch.check()
    assert not watch._announced
    with pytest.raises(Diverged, match="in step 101:"):
        taken(step, range(101, 105), a=torch.nan)


def test_a_device_that_has_not_come_so_far_is_asked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        done = False

        def record_event(self) -> Any:
            return self

        def query(self) -> bool:
            return self.done

    stream = Stream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    assert passed(torch.device("cpu"))()
    monkeypatch.setattr("poise.engine.divergence.passed", lambda device: passed(torch.device("cuda")))
    _, step = watching(every=2)
    taken(step, range(1, 10), loss=torch.nan)
    stream.done = True
    with pytest.raises(Diverged, match="in step 1:"):
        step(10)


def test_where_optimizers_cannot_be_withheld_it_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.engine.divergence.FUSED", ())
    watch, _ = watching(every=2)
    watch.announce(Look("weights", "step 1", "advice"))
    with pytest.raises(Diverged, match="in step 1"):
        watch.look("weights", torch.tensor(torch.nan), ["a"], torch.ones(1))


def test_on_the_meta_device_nothing_is_known() -> None:
    watch, step = watching(device="meta")
    step(1, loss=torch.nan)
    watch.check()


class Wanting(nn.Module):
    """Its output is no number in one forward pass, the ``call``-th in training mode."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), Choice([nn.Identity(), nn.Tanh()]))
        self.calls, self.call = 0, call

    def forward(self, x: Any) -> Any:
        self.calls += self.training
        return self.network(x) * (torch.nan if self.calls == self.call else 1)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize(("call", "what"), [(5, "alphas"), (6, "weights")])
def test_a_fault_leaves_everything_as_it_was_before_it(call: int, what: str, every: int) -> None:
    """An alphas' step and a weights' step are a call each: those of the third step are the fifth and the sixth."""
    torch.manual_seed(0)
    found = searcher(supernet=ModuleSupernet(Wanting(call)), count=32)  # 8 steps
    found.watch.every = every
    states, steps, moments = States(), [], []

    def now() -> bytes:
        adam = optimizer_state(found.alpha_optimizer, found.alphas)
        sgd = optimizer_state(found.weight_optimizer, found.weights)
        return encode({"weights": found.weights, "alphas": found.alphas, "adam": adam, "sgd": sgd})

    for optimizer in (found.alpha_optimizer, found.weight_optimizer):
        optimizer.register_step_post_hook(lambda *_: moments.append(now()))

    def listen(event: object) -> None:
        if isinstance(event, Stepped):
            steps.append(event)

    saver = Checkpointer(states, control=RunControl(every=1e9))
    with pytest.raises(Diverged, match=rf"the {what}' step 3 of search epoch 1: the loss is nan"):
        search(found, listen, saver)
    assert len(steps) == (2 if every == 1 else 5)
    assert not states.all, "nothing is saved in between"
    clean = 4 if what == "alphas" else 5
    assert len(set(moments[:clean])) == clean
    assert set(moments[clean:]) == {moments[clean - 1]}
    assert now() == moments[clean - 1]
    with pytest.raises(Diverged):
        found.state()


def test_the_end_of_an_epoch_reads_it() -> None:
    torch.manual_seed(0)
    found = searcher(supernet=ModuleSupernet(Wanting(5)))
    found.watch.every = 1000
    with pytest.raises(Diverged, match="the alphas' step 3 of search epoch 1"):
        search(found)
