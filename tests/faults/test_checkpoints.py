"""A checkpoint is whole or known not to be, whatever happened to its bytes, its folder or the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from safetensors.torch import save

from full import FULL
from poise.engine import checkpoint
from poise.engine.checkpoint import KEPT, MAGIC, Checkpoints, State, decode, encode, join
from poise.engine.checkpointer import SHARE, Checkpointer, RunControl
from poise.engine.sgd import optimizer_state, restore_optimizer
from poise.errors import Refused, Stopped

KILOBYTE = 1024
FLIPS = 120 if FULL else 24
EXAMPLES = 1000 if FULL else 100


def state(number: int, size: int = 30_000) -> State:
    """A state of some 120 kB that is like no other number's."""
    generator = torch.Generator().manual_seed(number)
    alphas = torch.rand(3, 5, dtype=torch.double, generator=generator)
    weights = {"a.0": torch.randn(size, generator=generator), "number": number}
    facts = {"number": number, "history": [{"epoch": 0, "loss": 0.1 + number}]}
    return {"trainer": {"weights": weights, "alphas": {"cell": alphas}}, "facts": facts}


def equal(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            equal(found[name], value)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.fixture
def two(tmp_path: Path) -> tuple[Checkpoints, Path, State, Path, State]:
    """Two checkpoints, the older one first, each with its state."""
    kept = Checkpoints(tmp_path / "checkpoints")
    older, newer = state(1), state(2)
    return kept, kept.save(older), older, kept.save(newer), newer


def loaded(kept: Checkpoints) -> tuple[State | None, list[str]]:
    notes: list[str] = []
    return kept.load(notes.append), notes


Two = tuple[Checkpoints, Path, State, Path, State]


def passed_over(two: Two, damaged: bytes) -> None:
    """Fail unless these bytes, in the newest one's place, are passed over for the one before it, with a note."""
    kept, _, older, newest, _ = two
    newest.write_bytes(damaged)
    found, notes = loaded(kept)
    assert found is not None
    equal(found, older)
    assert len(notes) == 1
    assert str(newest) in notes[0]
    assert "damaged" in notes[0]
    assert not newest.exists(), "what was passed over must not be taken up later"


def test_cut_off_at_every_kilobyte(two: Two) -> None:
    content = two[3].read_bytes()
    lengths = [*range(0, len(content), KILOBYTE), *range(1, 48), len(content) - 1]
    cases = lengths if FULL else lengths[:: len(lengths) // 24]
    for length in cases:
        passed_over(two, content[:length])
    assert len(cases) >= (120 if FULL else 20)


def test_flipped_bits(two: Two) -> None:
    content = two[3].read_bytes()
    chance = random.Random(0)
    places = [*range(80), len(content) - 1] if FULL else [0, 8, 40, 48, len(content) - 1]
    places += [chance.randrange(len(content)) for _ in range(FLIPS)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        passed_over(two, bytes(damaged))
    assert len(places) >= (200 if FULL else 20)


def test_other_damage(two: Two) -> None:
    content = two[3].read_bytes()
    half = len(content) // 2
    for damaged in (
        content + b"\0",
        content + content,
        content[:half] + bytes(len(content) - half),  # what a file system may leave of what was not flushed
        bytes(len(content)),
        content[half:] + content[:half],
        two[1].read_bytes()[:half] + content[half:],
    ):
        passed_over(two, damaged)


def test_a_sum_alone_makes_no_checkpoint(two: Two) -> None:
    for body in (b"", b"\0" * 8, b"{}", b"\xff" * 100, (2).to_bytes(8, "little") + b"{}", (99).to_bytes(8, "little")):
        passed_over(two, MAGIC + hashlib.sha256(body).digest() + body)


@pytest.mark.parametrize("facts", ["5", "[]", "null", "[" * 100_000, "{", "NaN,"])
def test_facts_that_are_no_object(facts: str) -> None:
    body = save({"a": torch.zeros(1)}, metadata={"facts": facts})
    with pytest.raises(ValueError):
        decode(MAGIC + hashlib.sha256(body).digest() + body)


def test_all_damaged_is_refused_and_left_alone(two: Two) -> None:
    kept, first, _, second, _ = two
    for path in (first, second):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in (first, second)}
    notes: list[str] = []
    with pytest.raises(Refused, match=r"every checkpoint.*damaged.*--overwrite"):
        kept.load(notes.append)
    assert len(notes) == 2
    assert before == {path: path.read_bytes() for path in kept.folder.iterdir()}


def test_files_of_others_are_ignored(two: Two) -> None:
    kept, _, _, newest, newer = two
    foreign = [".00000003.checkpoint.new", "notes.txt", "best.checkpoint", "00000009.checkpoint.bak", "-1.checkpoint"]
    for name in foreign:
        (kept.folder / name).write_bytes(newest.read_bytes()[:-1])
    found, notes = loaded(kept)
    assert found is not None
    equal(found, newer)
    assert notes == []
    assert kept.save(state(3)).name == "00000003.checkpoint"
    kept.clear()
    left = {path.name for path in kept.folder.iterdir()}
    assert left == {*foreign[1:]}, "leftovers of our own go with the last checkpoint, files of others stay"


def test_a_leftover_does_not_keep_the_folder(two: Two) -> None:
    kept = two[0]
    (kept.folder / ".00000009.checkpoint.new").write_bytes(b"half")
    kept.clear()
    assert not kept.folder.exists()


def test_a_folder_with_a_checkpoints_name_is_ignored(two: Two) -> None:
    kept, _, _, _, newer = two
    (kept.folder / "00000003.checkpoint").mkdir()
    found, notes = loaded(kept)
    assert found is not None
    equal(found, newer)
    assert notes == []


def test_none_at_all(tmp_path: Path) -> None:
    assert loaded(Checkpoints(tmp_path / "nowhere")) == (None, [])
    assert loaded(Checkpoints(tmp_path)) == (None, [])


def test_the_newest_are_kept_in_order(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    for number in range(1, 13):
        kept.save(state(number, size=10))
        found, _ = loaded(kept)
        assert found is not None
        assert found["facts"]["number"] == number
        assert len(list(kept.folder.iterdir())) == min(number, KEPT)


@given(st.binary(max_size=400))
@tries(max_examples=EXAMPLES, deadline=None)
def test_arbitrary_bytes(content: bytes) -> None:
    for bytes_ in (content, MAGIC + content, MAGIC + hashlib.sha256(content).digest() + content):
        with pytest.raises(ValueError):
            decode(bytes_)


@given(st.text(max_size=60), st.integers(0, 200), st.binary(max_size=20))
@tries(max_examples=EXAMPLES, deadline=None)
def test_arbitrary_headers(header: str, length: int, rest: bytes) -> None:
    for text in (header, '{"__metadata__":' + header + "}", '{"__metadata__":{"facts":"' + header + '"}}'):
        body = length.to_bytes(8, "little") + text.encode() + rest
        with pytest.raises(ValueError):
            decode(MAGIC + hashlib.sha256(body).digest() + body)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
@tries(max_examples=EXAMPLES, deadline=None)
def test_facts_come_back(facts: dict[str, Any]) -> None:
    assert decode(encode(facts)) == facts


def test_tensors_come_back() -> None:
    shared = torch.arange(6.0)
    parameter = torch.nn.Parameter(torch.randn(2, 3))
    tensors = {
        "float32": torch.tensor([0.1, -0.0, 1e-45, 3e38]),
        "float64": torch.tensor([0.1, 1e-310, -1e308], dtype=torch.float64),
        "int64": torch.tensor([-(2**63), 2**63 - 1]),
        "bool": torch.tensor([True, False]),
        "bfloat16": torch.tensor([0.1, 3e38], dtype=torch.bfloat16),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(7),
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "strided": torch.arange(10)[::3],
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "shared": {"a": shared[:4], "b": shared[2:], "again": shared},
        "with/a stroke~1": {"~": {"/": torch.ones(1)}, "": {"": torch.zeros(1), "none": None}, "nothing": {}},
        "expanded": torch.tensor([1.5]).expand(4),
        "parameter": parameter,
    }
    whole = {"tensors": tensors, "lr": 0.1 + 0.2, "small": 5e-324}
    found = decode(encode(whole))
    equal(found, whole)
    found["tensors"]["shared"]["a"].add_(1)
    assert torch.equal(found["tensors"]["shared"]["again"], torch.arange(6.0)), "what comes back shares nothing"
    assert not found["tensors"]["parameter"].requires_grad


@pytest.mark.parametrize("label", ["a", "a/b", "a/b/c", "list/0"])
def test_a_name_given_twice_makes_no_state(label: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        join({label: torch.ones(1)}, {"a": 1 if label != "a/b" else {"b": 1}, "list": [1]})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_goes_on_to_the_last_bit(optimizer: Any) -> None:
    """Where one parameter has not moved yet; and what was saved stays as it was."""

    def made() -> tuple[dict[str, Any], Any]:
        weights = {name: torch.nn.Parameter(torch.arange(3.0)) for name in ("a/b", "still", "c")}
        more = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
        return weights, optimizer(weights.values(), lr=0.1, **more)

    def step(weights: dict[str, Any], moved: Any, number: int) -> None:
        for name in ("a/b", "c"):
            weights[name].grad = torch.linspace(0.1, number, 3)
        moved.step()

    weights, moved = made()
    step(weights, moved, 1)
    saved = decode(encode({"weights": weights, "optimizer": optimizer_state(moved, weights)}))
    assert set(saved["optimizer"]) == {"a/b", "c"}
    before = encode(saved)
    step(weights, moved, 2)
    again, going_on = made()
    step(again, going_on, 9)  # forgotten
    with torch.no_grad():
        for name, weight in again.items():
            weight.copy_(saved["weights"][name])
    restore_optimizer(going_on, again, saved["optimizer"])
    assert going_on.param_groups[0]["lr"] == 0.1
    step(again, going_on, 2)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert encode(saved) == before


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_flush(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint.os, "fsync", full)


def no_rename(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint.os, "replace", full)


def no_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "open", full)


def half_written(patch: pytest.MonkeyPatch) -> None:
    """The disk is full in the middle of the file."""
    opened = Path.open

    class Half:
        def __init__(self, path: Path, mode: str) -> None:
            self.file = opened(path, mode)

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> None:
            self.file.write(content[: len(content) // 2])
            full()

    patch.setattr(Path, "open", lambda path, mode: Half(path, mode))


@pytest.mark.parametrize("fault", [no_flush, no_rename, no_open, half_written])
def test_a_write_that_fails(
    fault: Callable[[pytest.MonkeyPatch], None], two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _, _, _, newer = two
    before = {path: path.read_bytes() for path in kept.folder.iterdir()}
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(OSError, match="No space"):
            kept.save(state(3))
    assert before == {path: path.read_bytes() for path in kept.folder.iterdir()}
    found, notes = loaded(kept)
    assert found is not None
    equal(found, newer)
    assert notes == []
    assert kept.save(state(3)).name == "00000003.checkpoint"


def test_a_write_is_flushed_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    said: list[str] = []
    flush, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        said.append("flush")
        flush(descriptor)

    def replace(source: Path, target: Path) -> None:
        assert decode(Path(source).read_bytes())["facts"]["number"] == 1
        assert not Path(target).exists()
        said.append("rename")
        rename(source, target)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    monkeypatch.setattr(checkpoint.os, "replace", replace)
    kept.save(state(1))
    assert said == ["flush", "rename", "flush"]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Slow(Checkpoints):
    """Checkpoints that take time and are only counted."""

    def __init__(self, clock: Clock, costs: float) -> None:
        super().__init__(Path("run/checkpoints"))
        self.clock, self.costs = clock, costs
        self.times: list[float] = []

    def save(self, state: State) -> Path:
        self.times.append(self.clock.now)
        self.clock.now += self.costs
        return self.folder


def work(
    clock: Clock, kept: Slow, every: float, seconds: float, step: float = 1.0, epoch: int = 0,
    asked: Callable[[], bool] = lambda: False,
) -> Checkpointer:  # fmt: skip
    """Work for so many seconds, with a visit after every step and a boundary after every epoch."""
    saver = Checkpointer(kept, control=RunControl(every, asked), clock=clock)
    end, steps = clock.now + seconds, 0
    while clock.now < end:
        clock.now += step
        steps += 1
        saver.visit(lambda: state(1, 1))
        if epoch and steps % epoch == 0:
            saver.visit(lambda: state(1, 1), boundary=True)
    return saver


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize("every", [0.0, 5.0, 300.0])
@pytest.mark.parametrize("costs", [0.001, 0.5, 20.0])
def test_at_most_one_percent_of_the_time(costs: float, every: float, epoch: int) -> None:
    clock = Clock()
    kept = Slow(clock, costs)
    begin = clock.now
    work(clock, kept, every, seconds=20_000, epoch=epoch)
    assert len(kept.times) >= 2
    spent = costs * (len(kept.times) - 1)  # what the last one costs is made up for after it
    assert spent <= SHARE * (kept.times[-1] - begin) + 1e-9
    for one, next_ in pairwise(kept.times):
        assert next_ - (one + costs) >= costs / SHARE - 1e-9
        if not epoch:
            assert next_ - (one + costs) >= every - 1e-9


def test_every_is_respected() -> None:
    clock = Clock()
    kept = Slow(clock, 0.0)
    work(clock, kept, every=300, seconds=3000)
    assert kept.times == [1000.0 + 300 * number for number in range(1, 11)]


def test_the_end_of_an_epoch_is_a_time_to_save() -> None:
    clock = Clock()
    kept = Slow(clock, 0.0)
    work(clock, kept, every=1e9, seconds=100, epoch=10)
    assert kept.times == [1000.0 + 10 * number for number in range(1, 11)]


@pytest.mark.parametrize("costs", [0.001, 1e6])
def test_a_request_saves_at_once(costs: float) -> None:
    clock = Clock()
    kept = Slow(clock, costs)
    with pytest.raises(Stopped, match="poise resume run"):
        work(clock, kept, every=1e9, seconds=100, asked=lambda: clock.now >= 1003)
    assert kept.times == [1003.0]


def test_without_a_folder_nothing_is_saved() -> None:
    saver = Checkpointer(control=RunControl(0, lambda: True))
    with pytest.raises(Stopped, match="not saved"):
        saver.visit(lambda: pytest.fail("nobody needs the state"))


def test_the_state_is_made_only_when_it_is_saved() -> None:
    saver = Checkpointer(Slow(Clock(), 1.0), control=RunControl(10), clock=Clock())
    saver.visit(lambda: pytest.fail("it is not time"))


def test_a_clock_that_jumps_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    saver = Checkpointer(kept, control=RunControl(1e6))
    for jump in (1e9, -1e9):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        saver.visit(lambda: pytest.fail("no time has passed"))
    assert saver._clock is time.monotonic


def test_a_disk_that_is_full_is_refused_in_one_line(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _, _, _, newer = two
    no_rename(monkeypatch)
    with pytest.raises(Refused, match=r"cannot write a checkpoint .*No space left.* is whole") as refused:
        Checkpointer(kept, control=RunControl(asked=lambda: True)).visit(lambda: state(3))
    assert "\n" not in str(refused.value)
    found, _ = loaded(kept)
    assert found is not None
    equal(found, newer)


def test_every_state_has_the_facts_of_the_whole(two: Two) -> None:
    kept = two[0]
    start = {"trainer": {"a": 1}, "facts": {"history": [{"epoch": 0}], "rollbacks": 2}}
    saver = Checkpointer(kept, start, RunControl(asked=lambda: True))
    assert saver.take()["trainer"] == {"a": 1}
    assert saver.take() == {}, "a start is taken once"
    saver.history.append({"epoch": 1})
    saver.facts["stage"] = 3
    with pytest.raises(Stopped):
        saver.visit(lambda: {"trainer": {"a": 2}})
    facts = {"history": [{"epoch": 0}, {"epoch": 1}], "rollbacks": 2, "stage": 3}
    assert loaded(kept)[0] == {"trainer": {"a": 2}, "facts": facts}
    assert start["facts"]["history"] == [{"epoch": 0}], "where it started stays as it was"
