"""Streamed batches: the same to the last bit whatever the workers and wherever an epoch goes on; what is refused."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import noise, png
from PIL import Image
from torch import Tensor

from poise.data import Images, open_source
from poise.data.crops import Middle, RandomPart
from poise.data.decode import Encoded, from_bytes
from poise.data.sources.hub import TableCells
from poise.data.split_source import SplitSource
from poise.data.streaming import Streamed, StreamedBatches, streamed_fingerprint, workers_explained
from poise.errors import Refused

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 images of as many sizes in two classes, and 3 to test on."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 11), ("val", 3)):
        for index in range(count):
            folder = root / split / ("cat", "dog")[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = noise(20 + index, 31 - index, 3, seed=index)
            Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return root


def opened(root: Any) -> SplitSource:
    source = open_source(root)
    assert isinstance(source, SplitSource)
    return source


def batches(images: Streamed, size: int = 4, **given: Any) -> StreamedBatches:
    given = {"part": RandomPart(8, jitter=0.4), "mean": MEAN, "std": STD, "device": "cpu", "workers": 0} | given
    return StreamedBatches(images, size, **given)


def epoch(made: StreamedBatches, seed: int = 0, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    return list(made.epoch(torch.Generator().manual_seed(seed), start))


def children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def same(found: Iterable[tuple[Tensor, Tensor]], expected: Iterable[tuple[Tensor, Tensor]]) -> None:
    for (images, labels), (others, other_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


class Told:
    """Images from a list."""

    def __init__(self, contents: list[bytes]) -> None:
        self.contents = contents

    def __call__(self, rows: list[int]) -> list[Encoded]:
        return [from_bytes(str(row), self.contents[row]) for row in rows]


def test_an_epoch_is_what_its_draws_say(photos: Path) -> None:
    """From the files, by hand: order, seeds, crops, normalisation, labels."""
    images = opened(photos).streamed("train")
    draw = torch.Generator().manual_seed(3)
    order = torch.randperm(11, generator=draw).tolist()
    seeds = torch.randint(2**62, (11,), generator=draw).tolist()
    files = sorted((photos / "train").rglob("*.png"))
    found = epoch(batches(images), seed=3)
    assert len(found) == len(batches(images)) == 2, "the last 3 images are left out"
    assert epoch(batches(images, channels_last=False))[0][0].stride() == torch.empty(4, 3, 8, 8).stride()
    seen = 0
    for pixels, labels in found:
        assert pixels.shape == (4, 3, 8, 8)
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip(pixels, labels, strict=True):
            file = files[order[seen]]
            assert label == ("cat", "dog").index(file.parent.name)
            with Image.open(file) as opening:
                part = RandomPart(8, jitter=0.4)(opening.convert("RGB"), seeds[order[seen]])
            expected = (torch.from_numpy(part.copy()).double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
            torch.testing.assert_close(image.permute(1, 2, 0).double(), expected, atol=1e-5, rtol=1e-5)
            seen += 1


def test_workers_and_starts_change_nothing(photos: Path) -> None:
    images = opened(photos).streamed("train")
    expected = epoch(batches(images, 3))
    assert len(expected) == 3
    torch.manual_seed(5)
    following = torch.rand(2)
    torch.manual_seed(5)
    same(epoch(batches(images, 3, workers=2)), expected)
    assert torch.equal(torch.rand(2), following), "torch's own generator is left alone"
    same(epoch(batches(images, 3, workers=2), start=1), expected[1:])
    same(epoch(batches(images, 3), start=2), expected[2:])
    assert epoch(batches(images, 3), start=3) == []
    after = [torch.Generator().manual_seed(0) for _ in (0, 1)]
    for generator, start in zip(after, (0, 2), strict=True):
        list(batches(images, 3).epoch(generator, start))
    assert torch.equal(after[0].get_state(), after[1].get_state())
    others = epoch(batches(images, 3), seed=1)
    assert not torch.equal(others[0][0], expected[0][0])
    for start in (-1, 4):
        with pytest.raises(Refused, match=r"expected 0\.\.3"):
            batches(images, 3).epoch(torch.Generator(), start)


def test_what_lies_before_the_start_is_not_read(photos: Path) -> None:
    images = opened(photos).streamed("train")
    read: list[int] = []

    def fetch(rows: list[int]) -> Any:
        read.extend(rows)
        return images.part.fetch(rows)

    counted = Streamed(type(images.part)(images.part.where, images.part.labels, fetch), images.names, 3)
    epoch(batches(counted, 3), start=2)
    assert len(read) == 3


def test_in_order_every_middle_once(photos: Path) -> None:
    images = opened(photos).streamed("train")
    found = list(batches(images, workers=2, drop_last=False).ordered())
    assert [len(labels) for _, labels in found] == [4, 4, 3]
    pixels = torch.cat([each for each, _ in found])
    assert torch.equal(torch.cat([labels for _, labels in found]), images.part.labels)
    for image, file in zip(pixels, sorted((photos / "train").rglob("*.png")), strict=True):
        with Image.open(file) as opening:
            middle = torch.from_numpy(Middle(8)(opening, 0).copy()).double()
        expected = (middle / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
        torch.testing.assert_close(image.permute(1, 2, 0).double(), expected, atol=1e-5, rtol=1e-5)
    first, labels = batches(images).first(2)
    assert torch.equal(first, pixels[:2])
    assert torch.equal(labels, images.part.labels[:2])
    assert len(batches(images).first(50)[1]) == 11


def test_cutout_covers_a_square_of_the_mean(photos: Path) -> None:
    images = opened(photos).streamed("train")
    plain, cut = (epoch(batches(images, 11, cutout=cutout))[0][0] for cutout in (0, 3))
    changed = (plain != cut).any(dim=1)
    assert (cut[changed[:, None].expand_as(cut)] == 0).all()
    assert 4 <= float(changed.sum(dim=(1, 2)).double().mean()) <= 9
    assert torch.equal(cut, epoch(batches(images, 11, cutout=3))[0][0])


def test_statistics_are_those_of_the_middles(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = opened(photos).streamed("train")
    pixels = np.stack([images.pixels([(row, 0)], Middle(8))[0] for row in range(11)]) / 255
    mean, std = images.sample(8).statistics()
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)))
    monkeypatch.setattr("poise.data.streaming.SAMPLE", 4)
    np.testing.assert_allclose(images.sample(8).statistics()[0], pixels[[0, 2, 5, 8]].mean(axis=(0, 1, 2)))


def test_the_fingerprint_tells_data_apart_and_does_not_mind_a_move(photos: Path, tmp_path: Path) -> None:
    def of(root: Path) -> str:
        source = opened(root)
        return streamed_fingerprint(source.streamed("train"), source.streamed("test"))

    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    assert of(moved) == of(photos)
    changed = moved / "train" / "dog" / "01.png"
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert of(moved) != of(photos)
    changed.unlink()
    assert of(moved) != of(photos)
    assert of(photos) != streamed_fingerprint(opened(photos).streamed("train"))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_refused_by_name(photos: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    broken = tmp_path / "train" / "cat" / "04.png"
    broken.write_bytes(broken.read_bytes()[:60])
    source = opened(tmp_path)
    before = children()
    with pytest.raises(Refused, match=r"^cannot read image .*04\.png: ") as caught:
        epoch(batches(source.streamed("train"), 1, workers=workers))
    assert "\n" not in str(caught.value)
    assert not children() - before, "the workers ended with the epoch, though the error is still held"
    kept = source.without_bad_images()
    assert [bad.name for bad in kept.skipped] == [str(broken)]
    assert len(epoch(batches(kept.streamed("train"), 1, workers=workers))) == len(kept.labels("train"))


@pytest.mark.parametrize("where", ["in memory", "mapped", "from the hub"])
@pytest.mark.parametrize("struct", [False, True])
def test_tables_are_streamed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, struct: bool) -> None:
    """However many bytes they hold, and in other processes, where these are not forked."""
    contents = [png(noise(9 + index, 12, seed=index)) for index in range(6)]
    cells = [{"bytes": each, "path": "x.png"} for each in contents] if struct else contents
    for start in (0, 3):
        part = pa.table({"image": pa.array(cells[start : start + 3]), "label": [0, 1, 0]})
        pq.write_table(part, tmp_path / f"train-{start}.parquet", row_group_size=2)
    pq.write_table(pa.table({"image": pa.array(cells[:2]), "label": [0, 1]}), tmp_path / "test.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    if where == "mapped":
        monkeypatch.setattr("poise.data.sources.parquet.HELD", 0)
    images = opened(tmp_path).streamed("train")
    if where == "from the hub":
        files = [str(tmp_path / f"train-{start}.parquet") for start in (0, 3)]
        table = datasets.Dataset.from_parquet(files).cast_column("image", datasets.Image(decode=False))
        images = replace(images, part=replace(images.part, fetch=TableCells(table, "image", images.part.where)))
    assert images.channels == 1
    made = [batches(images, 2, mean=(0.5,), std=(0.2,), workers=workers) for workers in (0, 2)]
    found = epoch(made[0])
    assert found[0][0].shape == (2, 1, 8, 8)
    same(epoch(made[1]), found)
    sent = pickle.loads(pickle.dumps(images))  # noqa: S301
    same(epoch(batches(sent, 2, mean=(0.5,), std=(0.2,))), found)
    for row in (4, 0):
        (item,) = images.part.fetch([row])
        assert (item.length(), item.name) == (len(contents[row]), f"row {row} of train-0.parquet .. train-3.parquet")
    assert any((tmp_path / "cache").rglob("*.arrow")) == (where != "in memory")
    same_as_files = streamed_fingerprint(replace(images, part=replace(images.part, fetch=Told(contents))))
    assert streamed_fingerprint(images) == same_as_files


def test_tables_that_cannot_be_mapped_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("poise.data.sources.parquet.HELD", 0)
    for name, cell in (("a", b"x"), ("b", {"bytes": b"x", "path": ""})):
        pq.write_table(
            pa.table({"image": pa.array([cell] * 6), "label": [0, 1] * 3}), tmp_path / f"train-{name}.parquet"
        )
    with pytest.raises(Refused, match=r"^cannot read train-a.parquet .. train-b.parquet: [^\n]*$"):
        opened(tmp_path).streamed("train")


def test_folders_can_be_sent_to_other_processes(photos: Path) -> None:
    """Where workers are not forked."""
    images = opened(photos).streamed("train")
    sent = pickle.loads(pickle.dumps(images))  # noqa: S301
    same(epoch(batches(sent)), epoch(batches(images)))


def test_numbers_cannot_be_streamed() -> None:
    images = Images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    with pytest.raises(Refused, match="no image files to stream"):
        opened(images).streamed("train")


def test_senseless_batches_are_refused(photos: Path) -> None:
    images = opened(photos).streamed("train")
    for wrong, message in (
        ({"size": 0}, "at least 1"),
        ({"size": 12}, "do not fill one batch of 12"),
        ({"mean": (0.5,)}, "one per channel"),
        ({"std": (0.0, 1, 1)}, "above 0"),
        ({"cutout": 9}, "cutout is 9"),
    ):
        with pytest.raises(Refused, match=message):
            batches(images, **wrong)  # type: ignore[arg-type]


def test_workers_end_with_the_epoch_and_hear_no_signals(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = opened(photos).streamed("train")
    at_exit: list[Any] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    before = children()
    passing = batches(images, 1, workers=2).epoch(torch.Generator())
    next(passing)
    workers = children() - before
    assert (len(workers), len(at_exit)) == (2, 1)
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, number)
    assert len([next(passing) for _ in range(6)]) == 6
    passing.close()
    assert not children() & workers
    assert not at_exit, "days of epochs leave nothing behind"


LEFT_OPEN = """
import sys, torch
from poise.data import open_source
from poise.data.crops import RandomPart
from poise.data.streaming import StreamedBatches

images = open_source(sys.argv[1]).streamed("train")
batches = StreamedBatches(images, 1, part=RandomPart(8), mean=(0.5,) * 3, std=(0.2,) * 3, device="cpu", workers=2)
passing = batches.epoch(torch.Generator())
print(len(next(passing)))
"""


def test_a_process_ends_though_an_epoch_is_left_open(photos: Path) -> None:
    """As one that crashes with a traceback that holds it; the workers hear no signal to end."""
    script = [sys.executable, "-c", LEFT_OPEN, str(photos)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=600, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_worker_that_is_killed_is_explained(photos: Path) -> None:
    images = opened(photos).streamed("train")
    before = children()
    passing = batches(images, 1, workers=1).epoch(torch.Generator())
    with pytest.raises(Refused, match="was ended from outside"), workers_explained():  # noqa: PT012
        next(passing)
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        list(passing)
    with pytest.raises(RuntimeError, match="else"), workers_explained():
        raise RuntimeError("something else")
