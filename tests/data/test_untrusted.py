"""Data from anyone: nothing in it runs, nothing in it makes poise read elsewhere or fill the memory."""

from __future__ import annotations

import ast
import io
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import bomb, class_folders, noise, png, refused
from PIL import Image

import poise
from poise.data import open_source
from poise.data.decode import MAX_PIXELS
from poise.data.sources import npz as npz_source
from poise.data.sources import parquet as parquet_source

SOURCE = Path(poise.__file__).parent
LABELS = np.array([0, 1] * 5)


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "subprocess", "tarfile"}
ALLOWED = {f"jobs/{name}.py": {"subprocess"} for name in ("process", "local", "ray")}
"""Who may use one: processes that run poise itself."""


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_read_can_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert "trust_remote_code" not in text
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        used = {name.split(".")[0] for name in names} & MODULES
        assert used <= ALLOWED.get(path.relative_to(SOURCE).as_posix(), set())
    for name, call in calls(tree):
        options = {each.arg: ast.unparse(each.value) for each in call.keywords}
        assert name not in FORBIDDEN, name
        if name.startswith("subprocess."):
            assert "shell" not in options
            assert ast.unparse(call.args[0]).startswith(("command.line(", "[sys.executable"))
        assert not name.endswith((".extract", ".extractall", ".unpack_archive")), name
        if name in ("np.load", "numpy.load") or name.endswith(".read_array"):
            assert options.get("allow_pickle") == "False", name
        if name == "torch.load":
            assert options.get("weights_only") == "True", name
        if name == "Image.open":
            assert "formats" in options, (
                "a file may be of any format then, also of one that Pillow starts a program for"
            )


@pytest.mark.parametrize("side", [8193, 12_000, 100_000])  # above our limit; Pillow warns; Pillow refuses
def test_an_image_of_too_many_pixels_is_not_decoded(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    root = class_folders(tmp_path)
    for path in root.rglob("0.png"):
        path.write_bytes(bomb(side, side))
    refused(tmp_path, rf"cannot read image .*0.png: .*{side * side if side > 20_000 else MAX_PIXELS}", "train")
    assert not recwarn.list


def test_the_limit_of_pixels_does_not_depend_on_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    root = class_folders(tmp_path)
    for path in root.rglob("*.png"):
        path.write_bytes(bomb(100_000, 100_000))
    refused(tmp_path, "no image that can be read", "train")


def test_only_formats_with_plain_decoders_are_opened(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "eps")
    for path in root.rglob("0.png"):
        Image.fromarray(noise(6, 6, 3)).save(path, "EPS")
    refused(root, "cannot identify image file", "train")
    buffer = io.BytesIO()
    Image.fromarray(noise(6, 6, 3)).save(buffer, "EPS")
    table = pa.table({"img": [buffer.getvalue(), *[png(noise(6, 6, 3))] * 9], "label": LABELS})
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table, tmp_path / "test.parquet")
    refused(tmp_path, "row 0 of train.parquet: cannot identify", "train")


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    secret = class_folders(tmp_path / "secret")
    root = class_folders(tmp_path / "data")
    (root / "cat" / "9.png").symlink_to(secret / "cat" / "0.png")
    refused(root, "cat/9.png is a link out of")
    (root / "cat" / "9.png").unlink()
    (root / "fox").symlink_to(secret / "cat")
    refused(root, "fox is a link out of")
    (root / "fox").unlink()
    (root / "cat" / "more").symlink_to(secret / "cat")
    refused(root, "more is a link out of")
    (root / "cat" / "more").unlink()
    (root / "cat" / "more").symlink_to(root / "dog")
    refused(root, "more is a link to a folder")
    split = tmp_path / "split"
    split.mkdir()
    (split / "train").symlink_to(secret)
    refused(split, "train is a link out of")
    (split / "train").unlink()
    class_folders(split / "train")
    (split / "test").symlink_to(secret)
    refused(split, "test is a link out of")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    (root / "cat" / "9.png").symlink_to(root / "cat" / "0.png")
    (tmp_path / "alias").symlink_to(root)
    for path in (root, tmp_path / "alias"):
        source = open_source(path)
        assert len(source.labels("train")) + len(source.labels("test")) == 11


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders there")
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    refused(root, "pipe.png is not a regular file")
    (root / "cat" / "pipe.png").unlink()
    (root / "cat" / "nothing.png").symlink_to(root / "cat" / "gone.png")
    refused(root, "nothing.png is not a regular file")


def header(shape: str, kind: str = "|u1") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def write_members(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def member(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_arrays_larger_than_their_file_are_not_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, labels = tmp_path / "x.npz", member(LABELS)
    big = header("(1000000, 1000000, 3)") + bytes(100)
    refused(write_members(path, images=big, labels=labels), "says that it holds 3000000000000 bytes, but holds 100")
    small = header("(1, 2, 2)") + bytes(100)
    refused(write_members(path, images=small, labels=labels), "says that it holds 4 bytes, but holds 100")
    monkeypatch.setattr(npz_source, "MAX_BYTES", 10_000)
    refused(write_members(path, images=member(np.zeros((10, 50, 50), np.uint8)), labels=labels), "limit of 10000")


def test_a_lying_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write_members(tmp_path / "x.npz", images=header("(10, 8, 8)") + bytes(640), labels=member(LABELS))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")  # the directory: its first entry says how large the images are
    content[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    refused(path, "cannot read 'images'")


def test_objects_in_arrays_are_never_loaded(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(ran),)

    path = tmp_path / "x.npz"
    for broken in (
        {"images": member(noise(10, 8, 8)), "labels": member(np.array([Evil()] * 10))},
        {"images": member(np.array([Evil()] * 10)), "labels": member(LABELS)},
    ):
        refused(write_members(path, **broken), "Python objects, which are never loaded")
    path.write_bytes(member(np.array([Evil()])))
    refused(path, "not a .npz file")
    assert not ran.exists()


def test_members_are_never_unpacked_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "data" / "x.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../evil.npy", member(LABELS))
        archive.writestr("images.npy", member(noise(10, 8, 8)))
        archive.writestr("labels.npy", member(LABELS))
    assert len(open_source(path).load("train")) == 8
    assert sorted(tmp_path.rglob("*")) == [path.parent, path]


def test_parquet_columns_of_absurd_size_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_source, "MAX_BYTES", 2000)
    pq.write_table(pa.table({"img": [bytes(1000)] * 10, "label": LABELS}), tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", r"'img' of .*x.parquet holds \d+ bytes, more than the limit", "train")


def test_a_hub_dataset_cannot_point_at_files_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "home")
    cells = [{"bytes": None, "path": str(root / "cat" / f"{row % 5}.png")} for row in range(10)]
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    split = datasets.Dataset.from_dict({"image": cells, "label": LABELS.tolist()}, features=features)
    split = split.cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"train": split, "test": split})
    refused("hf:some/one", "no image that can be read", "train")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert len(open_source("hf:some/one").load("train")) == 10


@pytest.mark.parametrize("name", ["hf:../etc", "hf:/etc", "hf:a/..", "hf:a/b/c", "hf:", "hf:a b/c", "hf:./c"])
def test_what_is_no_name_of_a_dataset_is_refused(name: str) -> None:
    refused(name, "is not the name of a Hub dataset")


def test_float_arrays_beyond_32_bits_are_refused_quietly(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = write_members(tmp_path / "x.npz", images=member(np.full((10, 4, 4), 1e300)), labels=member(LABELS))
    refused(path, "not finite", "train")
    assert not recwarn.list
