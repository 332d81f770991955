"""Every kind of label from every form of data: what is read, how it is split, resized and streamed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from label_helpers import (
    CASES,
    COUNT,
    FORMS,
    HOLD_OUT,
    KINDS,
    MASKS,
    NAMED,
    NAMES,
    NUMBERS,
    PIXELS,
    SETS,
    Items,
    folder,
    line,
)
from PIL import Image

from poise.data import Images, fingerprint, open_data, open_source, overlap
from poise.data.labels import ClassIds, ClassSets, Masks, Numbers
from poise.data.labels.anything import Anything
from poise.data.streaming import streamed_fingerprint


def rows_of(images: Images) -> torch.Tensor:
    """Which rows of `PIXELS` these are."""
    known = {image.transpose(2, 0, 1).tobytes(): row for row, image in enumerate(PIXELS)}
    return torch.tensor([known[image.numpy().tobytes()] for image in images.pixels])


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_labels_are_those_of_their_images(form: str, kind: str, tmp_path: Path) -> None:
    labels, expected = KINDS[kind]
    source = open_source(FORMS[form](tmp_path, kind), labels)
    parts = [source.load(split) for split in (("train", "test") if form in HOLD_OUT else ("train",))]
    rows = torch.cat([rows_of(part) for part in parts])
    assert sorted(rows.tolist()) == list(range(COUNT))
    found = torch.cat([part.labels for part in parts])
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected[rows])
    if form in NAMED:
        assert source.names == NAMES[kind]
    chosen = source.load("train", torch.tensor([5, 0]))
    assert torch.equal(chosen.labels, source.load("train").labels[[5, 0]])
    assert torch.equal(source.labels("train"), parts[0].labels)
    if form in HOLD_OUT:
        assert len(parts[1]) == COUNT // 5
        strata = labels.strata(expected)
        for stratum in strata.unique():
            share = (strata[rows_of(parts[1])] == stratum).sum() / (strata == stratum).sum()
            assert abs(share - 0.2) < 0.15


@pytest.mark.parametrize("form", [form for form, kind in CASES if kind == "masks"])
def test_masks_are_resized_with_their_images_and_no_class_is_made_up(form: str, tmp_path: Path) -> None:
    source = open_source(FORMS[form](tmp_path, "masks"), Masks())
    rows, small = rows_of(source.load("train")), source.load("train", size=2)
    # Of 6 rows, the middles of two halves lie in rows 1 and 4; of 5 columns, in those from 1 and from 3.
    assert torch.equal(small.labels, MASKS[rows][:, [1, 4]][:, :, [1, 3]])
    assert small.size == (2, 2)
    assert source.files == (form in ("parquet", "csv", "pictures", "folder")), "three channels of a file are RGB"


@pytest.mark.parametrize(("form", "kind"), [case for case in CASES if case[0] in ("parquet", "csv", "pictures")])
def test_all_but_masks_are_streamed(form: str, kind: str, tmp_path: Path) -> None:
    source = open_source(FORMS[form](tmp_path, kind), KINDS[kind][0])
    if kind == "masks":
        assert "has masks, which cannot be streamed" in line(lambda: source.streamed("train"))
        return
    streamed = source.streamed("train")
    assert torch.equal(streamed.sample(4).labels, source.labels("train"))
    changed = type(streamed)(streamed.part.select(torch.arange(len(streamed)).flip(0)), streamed.names, 3)
    assert streamed_fingerprint(streamed) != streamed_fingerprint(changed)
    assert streamed_fingerprint(streamed) == streamed_fingerprint(streamed)


@pytest.mark.parametrize("kind", KINDS)
def test_data_is_known_again_by_pixels_and_labels(kind: str, tmp_path: Path) -> None:
    images = FORMS["images"](tmp_path, kind)
    again = Images(images.pixels.clone(), images.labels.clone(), images.names)
    assert fingerprint(images) == fingerprint(again)
    again.labels[3] = again.labels[4]
    assert fingerprint(images) != fingerprint(again)
    assert overlap(images, again) == COUNT
    assert overlap(images, images.subset(torch.tensor([2, 3]))) == 2


def test_labels_of_the_same_bytes_but_of_another_kind_are_other_data() -> None:
    pixels = torch.zeros(4, 1, 1, 1)
    masks = Images(pixels, torch.zeros(4, 1, 1, dtype=torch.int64), ("a", "b"))
    sets = Images(pixels, torch.zeros(4, 2), ("a", "b"))
    assert fingerprint(masks) != fingerprint(sets)


def test_a_source_is_for_the_labels_that_it_was_opened_for(tmp_path: Path) -> None:
    source = open_source(FORMS["npz"](tmp_path, "numbers"), Numbers())
    assert open_source(source, Numbers(("a",))) is source
    assert line(lambda: open_source(source)) == "data was opened for numbers, expected class ids: pass its task"


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_labels_of_another_kind_are_refused_with_the_task_that_they_are_for(
    form: str, kind: str, tmp_path: Path
) -> None:
    spec = FORMS[form](tmp_path, kind)
    for other in (ClassIds(), ClassSets(), Numbers(), Masks()):
        if other == KINDS[kind][0] or (kind == "sets" and isinstance(other, Numbers)):
            continue
        if (form, kind) == ("csv", "sets") and isinstance(other, ClassIds):
            continue  # names of sets are names
        said = line(lambda other=other: open_source(spec, other))  # type: ignore[misc]
        if form in ("npz", "tensors", "images", "folder"):
            task = {"sets": "multilabel", "numbers": "regression", "masks": "segmentation"}[kind]
            assert f"for --task {task}" in said


def test_digits_are_classes_or_a_number() -> None:
    source = open_source("digits", Numbers())
    assert source.names == ("digit",)
    train = source.load("train")
    assert (train.labels.shape, train.labels.unique().tolist()) == ((1438, 1), list(range(10)))
    assert "one class for each example is for --task classification" in line(lambda: open_source("digits", ClassSets()))
    assert "one class for each example is for --task classification" in line(lambda: open_source("digits", Masks()))


def test_the_test_split_has_the_names_of_the_training_split() -> None:
    train = Items(list(torch.from_numpy(PIXELS[:8]).permute(0, 3, 1, 2)), [[0, 2], [1]] * 4)
    test = Items(train.inputs[:2], [[0], [1, 0]])
    source = open_source((train, test), ClassSets())
    assert test.reads == 0
    assert source.load("test").labels.tolist() == [[1, 0, 0], [1, 1, 0]]
    more = Items(train.inputs[:2], [[0], [3]])
    assert "label 3 of the test dataset is out of range" in line(
        lambda: open_source((train, more), ClassSets()).labels("test")
    )


def test_images_have_targets_of_any_form_for_a_task_of_ones_own() -> None:
    inputs = list(torch.from_numpy(PIXELS[:4]).permute(0, 3, 1, 2))
    found = open_source(Items(inputs, [0.5, 1.5, 2.5, 3.5]), Anything()).load("train", size=2)
    assert (found.labels.tolist(), found.names) == ([0.5, 1.5, 2.5, 3.5], ())
    boxes = open_source(Items(inputs, list(torch.rand(4, 2, 3))), Anything()).load("train", size=2)
    assert boxes.labels.shape == (4, 2, 3)
    trees = Items(inputs, [{"a": torch.zeros(1)}] * 4)
    assert "are dicts, expected one tensor" in line(lambda: open_source(trees, Anything()))


def test_items_that_change_are_refused() -> None:
    inputs = list(torch.from_numpy(PIXELS[:4]).permute(0, 3, 1, 2))
    data = Items(inputs, [0.5, 1.5, 2.5, 3.5])
    source = open_source(data, Numbers())
    data.items = [0.5, 1.5, 2.5, 9.0]
    assert "item 3 of the training dataset has label 9.0 now and 3.5 before" in line(lambda: source.load("train"))


def test_a_search_reads_no_test_split(tmp_path: Path) -> None:
    root = folder(tmp_path, "masks")
    for split in ("train", "test"):
        (root / split).mkdir()
    for name in ("images", "masks"):
        (root / name).rename(root / "train" / name)
        (root / "test" / name).mkdir()
    (root / "test" / "images" / "a.png").write_bytes(b"broken")
    (root / "test" / "masks" / "a.png").write_bytes(b"broken")
    source = open_source(root, Masks())
    assert source.has("test")
    assert len(source.load("train")) == COUNT
    assert "cannot read mask" in line(lambda: source.labels("test"))


def test_what_has_no_names_is_numbered(tmp_path: Path) -> None:
    assert open_data(FORMS["npz"](tmp_path, "numbers"), Numbers()).names == ("y0", "y1")
    assert open_data(FORMS["npz"](tmp_path, "sets"), ClassSets()).names == ("0", "1", "2")


def test_the_hub_has_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    image = datasets.Image()
    pictures = [Image.fromarray(each) for each in PIXELS]
    columns = {
        "image": (image, pictures),
        "mask": (image, [Image.fromarray(each.numpy().astype("uint8")) for each in MASKS]),
        "tags": (
            datasets.Sequence(datasets.ClassLabel(names=list(NAMES["sets"]))),
            [row.nonzero()[:, 0].tolist() for row in SETS],
        ),
        "brightness": (datasets.Value("float32"), NUMBERS[:, 0].tolist()),
        "weight": (datasets.Value("float64"), NUMBERS[:, 1].tolist()),
    }
    split = datasets.Dataset.from_dict(
        {name: values for name, (_, values) in columns.items()},
        features=datasets.Features({name: feature for name, (feature, _) in columns.items()}),
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"train": split})
    for kind, (labels, expected) in KINDS.items():
        source = open_source("hf:owner/all", labels)
        train = source.load("train")
        assert source.names == NAMES[kind]
        assert torch.equal(train.labels, expected[rows_of(train)])
    assert "has no ClassLabel column" in line(lambda: open_source("hf:owner/all"))
