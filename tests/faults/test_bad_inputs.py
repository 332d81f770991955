"""Bad input of every kind, through the command line: one clear line, exit code 2, nothing trained, nothing touched."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from poise.cli.main import main

Prepare = Callable[[Path], None]

SMALL = "--preset demo --method darts --set search.batch_size=2"
SEARCH = f"search --data data {SMALL}"
RETRAIN = "train darts.txt --data data"
DARTS = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)])"


def nothing(root: Path) -> None:
    """An empty folder."""


# --- data: folders ---


def picture(path: Path, seed: int = 0, side: int = 8, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)


def folders(root: Path, *classes: str, count: int = 6, **options: Any) -> None:
    for position, name in enumerate(classes or ("cat", "dog")):
        for index in range(count):
            picture(root / name / f"{index}.png", seed=100 * position + index, **options)


def pets(change: Callable[[Path], object]) -> Prepare:
    """The folder ``data`` with two classes, and then ``change(data)``."""

    def prepare(root: Path) -> None:
        folders(root / "data")
        change(root / "data")

    return prepare


def split(change: Callable[[Path], object]) -> Prepare:
    """The folder ``data`` with ``train`` and ``test``, a genotype, and then ``change(data)``."""

    def prepare(root: Path) -> None:
        (root / "darts.txt").write_text(DARTS)
        for name in ("train", "test"):
            folders(root / "data" / name)
        change(root / "data")

    return prepare


def bomb(path: Path, side: int = 100_000) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def link_out(data: Path) -> None:
    picture(data.parent / "elsewhere.png")
    (data / "cat" / "x.png").symlink_to(data.parent / "elsewhere.png")


def folder_link_out(data: Path) -> None:
    folders(data.parent / "elsewhere", "fox")
    (data / "fox").symlink_to(data.parent / "elsewhere" / "fox")


FOLDERS = [
    (lambda root: (root / "data").mkdir(), SEARCH, "holds no class folders"),
    (lambda root: picture(root / "data" / "a.png"), SEARCH, "holds no class folders"),
    (lambda root: folders(root / "data", "cat"), SEARCH, "one class only ('cat')"),
    (lambda root: folders(root / "data", count=2), SEARCH, "too few to hold some out"),
    (pets(lambda data: (data / "fox").mkdir()), SEARCH, "fox holds no images"),
    (pets(lambda data: picture(data / "fox" / "0.png")), SEARCH, "'fox' of data has a single"),
    (pets(lambda data: picture(data / "fox" / ".0.png")), SEARCH, "fox holds no images"),
    (pets(lambda data: folders(data, "Cat")), SEARCH, "differ in case only"),
    (pets(lambda data: (data / "cat" / "notes.txt").write_text("x")), SEARCH, "notes.txt"),
    (pets(lambda data: [cut(p, 0) for p in data.rglob("*.png")]), SEARCH, "no image"),
    (pets(lambda data: [cut(p, 70) for p in data.glob("cat/*")]), SEARCH, "cannot read image"),
    (pets(lambda data: [bomb(p) for p in data.glob("cat/*")]), SEARCH, "10000000000 pixels"),
    (pets(lambda data: [bomb(p, 9000) for p in data.glob("cat/*")]), SEARCH, "9000x9000 pixels"),
    (pets(lambda data: folders(data, "fox", side=9)), SEARCH, "pass data.size"),
    (pets(link_out), SEARCH, "x.png is a link out of"),
    (pets(folder_link_out), SEARCH, "fox is a link out of"),
    (split(lambda data: folders(data / "test", "fox")), RETRAIN, "unknown class folder of"),
    (split(lambda data: folders(data / "test", "Cat")), RETRAIN, "did you mean 'cat'?"),
    (split(lambda data: shutil.rmtree(data / "test" / "cat") or (data / "test" / "cat").mkdir()),
     RETRAIN, "cat holds no images"),
    (split(lambda data: (data / "test" / "cat" / "a.pdf").write_text("")), RETRAIN, "a.pdf"),
    (split(lambda data: cut(data / "test" / "cat" / "0.png", 70)),
     "train darts.txt --data data --set train.batch_size=2", "cannot read image"),
    (pets(nothing), f"search --data data {SMALL} --set data.size=0", "data.size"),
    (pets(nothing), f"search --data data {SMALL} --set data.size=-8", "data.size"),
    (pets(nothing), f"search --data data {SMALL} --set data.size=60000", "at most 8192"),
    (pets(nothing), f"search --data data {SMALL} --set data.size=.nan", "data.size"),
    (pets(nothing), f"search --data data {SMALL} --set search.batch_size=500", "fewer than search.batch_size 500"),
    (pets(nothing), f"search --data dat {SMALL}", "unknown data source 'dat'"),
]  # fmt: skip


# --- data: arrays, tables, archives, names ---

LABELS = np.array([0, 1] * 8)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)


def arrays(**given: Any) -> Prepare:
    return lambda root: np.savez(root / "data.npz", **given)


def halved(**test: Any) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "darts.txt").write_text(DARTS)
        np.savez(root / "data.npz", x_train=PIXELS, y_train=LABELS, **test)

    return prepare


def members(**content: bytes) -> Prepare:
    def prepare(root: Path) -> None:
        with zipfile.ZipFile(root / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, each in content.items():
                archive.writestr(f"{name}.npy", each)

    return prepare


def huge_array() -> bytes:
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 3), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)


def table(name: str = "data.parquet", **columns: Any) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "tables").mkdir(exist_ok=True)
        picture(root / "tables" / "one.png")
        content = (root / "tables" / "one.png").read_bytes()
        given = {"img": [content] * 16, "label": LABELS.tolist()} | columns
        pq.write_table(pa.table({key: value for key, value in given.items() if value is not None}), root / name)

    return prepare


def written(name: str, content: bytes | str) -> Prepare:
    def prepare(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return prepare


def pair(train: Prepare, test: Prepare) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "darts.txt").write_text(DARTS)
        (root / "data").mkdir()
        train(root)
        test(root)

    return prepare


NPZ, PARQUET = f"search --data data.npz {SMALL}", f"search --data data.parquet {SMALL}"
OTHERS = [
    (nothing, NPZ, "no such file or folder: data.npz"),
    (lambda root: (root / "data.npz").mkdir(), NPZ, "data.npz holds no class folders"),
    (written("data.npz", b""), NPZ, "is not a .npz file"),
    (written("data.npz", b"PK\x03\x04 and then nothing"), NPZ, "is not a .npz file"),
    (lambda root: np.save((root / "data.npz").open("wb"), PIXELS), NPZ, "is not a .npz file"),
    (arrays(), NPZ, "holds nothing, expected x_train"),
    (arrays(image=PIXELS, label=LABELS), NPZ, "holds image, label, expected"),
    (arrays(images=PIXELS, labels=LABELS[:9]), NPZ, "16 images in 'images' but 9 labels"),
    (arrays(images=PIXELS, labels=LABELS / 2), NPZ, "are not integers (found 0.0)"),
    (arrays(images=PIXELS, labels=LABELS.astype(str)), NPZ, "are not integers (found '0')"),
    (arrays(images=PIXELS, labels=LABELS - 1), NPZ, "label -1 of data is negative"),
    (arrays(images=PIXELS, labels=LABELS * 10**12), NPZ, "is not a class id from 0"),
    (arrays(images=PIXELS, labels=np.array([None] * 16)), NPZ, "holds Python objects, which are never loaded"),
    (arrays(images=PIXELS.astype(np.int32), labels=LABELS), NPZ, "is int32, expected uint8"),
    (arrays(images=PIXELS[..., :2], labels=LABELS), NPZ, "no axis has 1, 3 or 4 channels"),
    (arrays(images=PIXELS[:, :0], labels=LABELS), NPZ, "images without pixels"),
    (arrays(images=PIXELS[:0], labels=LABELS[:0]), NPZ, "holds no examples"),
    (arrays(images=np.full((16, 8, 8), np.nan), labels=LABELS), NPZ, "not finite"),
    (members(images=huge_array(), labels=b""), NPZ, "says that it holds 3000000000000 bytes"),
    (members(images=b"no array", labels=b""), NPZ, "cannot read 'images'"),
    (halved(x_test=PIXELS), NPZ, "only one of x_test, y_test"),
    (halved(x_test=PIXELS, y_test=LABELS + 5), "train darts.txt --data data.npz", "examples of class 5, which"),
    (nothing, PARQUET, "no such file or folder: data.parquet"),
    (written("data.parquet", b"PAR1 and then nothing"), PARQUET, "is not a parquet file"),
    (table(img=None), PARQUET, "no image column"),
    (table(label=None), PARQUET, "no label column"),
    (table(img=["a.png"] * 16), PARQUET, "is string, expected the bytes of image files"),
    (table(img=[b"no image"] * 16), PARQUET, "no image that can be read"),
    (table(label=["cat"] * 16), PARQUET, "has one class only ('cat')"),
    (table(label=[[0], [0, 1]] * 8), PARQUET, "differ in length"),
    (table(label=[None, 1] * 8), PARQUET, "are not integers (found None)"),
    (pair(table("data/train.parquet"), written("data/test.parquet", b"")), RETRAIN,
     "test.parquet is not a parquet file"),
    (pair(table("data/train.parquet"), table("data/test.parquet", label=[7] * 16)), RETRAIN,
     "which the training split does not have"),
    (written("data.zip", b"PK"), f"search --data data.zip {SMALL}", "a file of unknown kind '.zip'"),
    (nothing, f"search --data ../elsewhere/data {SMALL}", "no such file or folder"),
    (nothing, f"search --data hf:pets {SMALL}", "expected hf:owner/name"),
    (nothing, f"search --data hf:../pets {SMALL}", "expected hf:owner/name"),
    (nothing, f"search --data {'x' * 300} {SMALL}", "File name too long"),
    (nothing, f"search --data ~nobody-of-this-name/x {SMALL}", "no such file or folder: ~nobody"),
    (nothing, f"search --data digitz {SMALL}", "did you mean 'digits'?"),
    (nothing, f"search --data python {SMALL}", "unknown data source 'python'"),
]  # fmt: skip
for content, expected in (
    ("{", "is not JSON"), ("[" * 100_000, "is not JSON"), (b"\xff\xfe", "is not JSON"), ("{}", "expected the keys"),
    ('{"train": [0, 1], "valid": [1, 2]}', "in both halves"), ('{"train": [0, 0], "valid": [1]}', "more than once"),
    ('{"train": [0], "valid": [9999]}', "expected 0..1437"), ('{"train": [NaN], "valid": [1]}', "expected integers"),
):  # fmt: skip
    OTHERS.append((written("s.json", content), f"search --data digits {SMALL} --set data.split_file=s.json", expected))


# --- data: labels of every kind ---


def rows(header: str, *cells: str, files: int = 2) -> Prepare:
    """data.csv: a row for each, in turn, of 16 images, of which ``files`` exist."""

    def prepare(root: Path) -> None:
        for index in range(files):
            picture(root / f"{index}.png")
        text = "".join(f"{row % 2}.png,{cells[row % len(cells)]}\n" for row in range(16))
        (root / "data.csv").write_text(f"{header}\n{text}")

    return prepare


def masks(spoil: Prepare = nothing) -> Prepare:
    def prepare(root: Path) -> None:
        for index in range(16):
            picture(root / "data" / "images" / f"{index}.png")
            picture(root / "data" / "masks" / f"{index}.png")
            Image.fromarray((PIXELS[index, ..., 0] % 3).copy()).save(root / "data" / "masks" / f"{index}.png")
        spoil(root / "data")

    return prepare


CSV, MASKED = f"search --data data.csv {SMALL}", f"search --data data {SMALL}"
LABELLED = [
    (nothing, CSV, "no such file or folder: data.csv"),
    (written("data.csv", b""), CSV, "data.csv has no rows"),
    (written("data.csv", b"image,label\n\xff.png,1\n"), CSV, "is not UTF-8 text: byte 12"),
    (written("data.csv", b"image,label\n\0,1\n"), CSV, "which is no image"),
    (written("data.csv", 'image,label\n"0.png,1\n'), CSV, "line 2 of data.csv is not CSV"),
    (written("data.csv", "image,label\n0.png,1,2\n"), CSV, "line 2 of data.csv has 3 cells, expected 2 (image, label)"),
    (written("data.csv", "image,label,label\n0.png,1,2\n"), CSV, "two columns named 'label'"),
    (written("data.csv", "picture,label\n0.png,1\n"), CSV, "no column of images, expected one of image,"),
    (rows("image,label", "0", "1", files=1), CSV, "line 3 of data.csv names '1.png', but there is no file"),
    (rows("image,age", "0", "1"), CSV, "no label column, expected one of label,"),
    (rows("image,label", "cat"), CSV, "one class only ('cat')"),
    (rows("image,label", "cat", ""), CSV, "has no label (an empty text)"),
    (rows("image,label", "0", ""), CSV, "are not integers (found None)"),
    (rows("image,label", "0.5", "1.5"), CSV, "numbers are for --task regression"),
    (rows("image,label,split", "a,train", "b,trian"), CSV, "unknown split in line 3 of data.csv 'trian'; did you mean"),
    (rows("image,label", "cat", "dog"), f"{CSV} --task regression", "has no column of numbers, found image, label"),
    (rows("image,label", "3"), f"{CSV} --task regression", "'label' of data is 3 for every example"),
    (rows("image,a,b", "1,nan", "2,1"), f"{CSV} --task regression", "label 0 of data.csv is nan"),
    (rows("image,a,b", "1,x", "2,1"), f"{CSV} --task regression --set task.columns=[b]", "are not numbers (found 'x')"),
    (rows("image,a,b", "1,0", "2,1"), f"{CSV} --task regression --set task.columns=[aa]", "did you mean 'a'?"),
    (rows("image,label", "0", "1"), f"{CSV} --task multilabel", "a column of 0 and 1 for every class"),
    (rows("image,a,b", "1,0", "2,1"), f"{CSV} --task multilabel", "hold 2, expected 0 or 1 for every class"),
    (rows("image,tags", "a|b"), f"{CSV} --task multilabel", "have the same set of classes"),
    (rows("image,label", "0", "1"), f"{CSV} --task segmentation", "which is no image, expected .bmp"),
    (table(label=[0.5, 1.5] * 8), PARQUET, "numbers are for --task regression"),
    (table(label=None, tags=[["a"], ["b"]] * 8), PARQUET, "no label column"),
    (table(label=[["a"], [None]] * 8), f"{PARQUET} --task multilabel", "are names of classes, but one is None"),
    (table(label=["a", "b"] * 8), f"{PARQUET} --task regression", "has no column of numbers"),
    (table(mask=[b"no image"] * 16), f"{PARQUET} --task segmentation", "cannot read mask row 0 of 'mask'"),
    (arrays(images=PIXELS, labels=LABELS), f"{NPZ} --task segmentation", "is for --task classification"),
    (arrays(images=PIXELS, labels=PIXELS[..., 0]), NPZ, "a class for each pixel is for --task segmentation"),
    (arrays(images=PIXELS, labels=PIXELS[:, 1:, :, 0]), f"{NPZ} --task segmentation", "masks are 7 x 8, images 8 x 8"),
    (pets(nothing), f"{MASKED} --task regression", "one class for each example is for --task classification"),
    (masks(), f"{MASKED} --task classification", "a class for each pixel is for --task segmentation"),
    (masks(lambda data: (data / "masks" / "3.png").unlink()), MASKED, "3.png has no mask"),
    (masks(lambda data: (data / "images" / "3.png").unlink()), MASKED, "3.png has no image"),
    (masks(lambda data: cut(data / "masks" / "3.png", 30)), MASKED, "cannot read mask"),
    (masks(lambda data: picture(data / "masks" / "3.png")), MASKED, "is of mode RGB, expected one channel"),
    (masks(lambda data: (data / "classes.txt").write_text("a\nb\n")), MASKED, "is of class 2, expected 0..1, or 255"),
    (masks(), f"{MASKED} --set data.streaming=true --set data.size=8", "stream"),
]  # fmt: skip


# --- settings ---

SETTINGS = [
    (written("c.yaml", "a: [1"), "search --config c.yaml", "is not valid YAML"),
    (written("c.yaml", b"\xff\xfe\x00"), "search --config c.yaml", "is not valid YAML"),
    (written("c.yaml", "[" * 3000), "search --config c.yaml", "is not valid YAML"),
    (written("c.yaml", "space: !!python/object/apply:os.mkdir [evil]"), "search --config c.yaml", "is not valid YAML"),
    (written("c.yaml", ""), "search --config c.yaml", "must map settings to values"),
    (written("c.yaml", "1: 2"), "search --config c.yaml", "1"),
    (written("c.yaml", "data: 3"), "search --config c.yaml", "data"),
    (written("c.yaml", "search: [1]"), "search --config c.yaml", "search"),
    (written("c.yaml", "space: {name: [1]}"), "search --config c.yaml", "space.name must be a name"),
    (written("c.yaml", "space: {name: dart}"), "search --config c.yaml", "did you mean 'darts'?"),
    (written("c.yaml", "preset: tiny"), "search --config c.yaml", "unknown preset 'tiny'"),
    (written("c.yaml", "preset: [demo]"), "search --config c.yaml", "unknown preset"),
    (written("c.yaml", "search: {weights: {learning_rte: 1}}"), "search --config c.yaml", "learning_rate"),
    (written("c.yaml", "seed: 1e30"), "search --config c.yaml", "seed"),
    (lambda root: (root / "c.yaml").mkdir(), "search --config c.yaml", "c.yaml"),
    (nothing, "search --set search.epochs=.nan", "search.epochs"),
    (nothing, "search --set search.epochs=-1", "search.epochs"),
    (nothing, "search --set search.epochs=1e99", "search.epochs"),
    (nothing, "search --set search.epochs=true", "search.epochs"),
    (nothing, "search --set search.weights.learning_rate=.nan", "learning_rate"),
    (nothing, "search --set search.weights.learning_rate=-.inf", "learning_rate"),
    (nothing, "search --set search.weights.learning_rate=.inf", "learning_rate"),
    (nothing, "search --set search.alphas.learning_rate=-1", "learning_rate"),
    (nothing, "search --set search.images_per_half=0", "images_per_half"),
    (nothing, "search --set data.search_fraction=1", "search_fraction"),
    (nothing, "search --set data.search_fraction=.nan", "search_fraction"),
    (nothing, "search --set space.channels=-4", "channels"),
    (nothing, "search --set space.channels=2.5", "channels"),
    (nothing, "search --set space.cells=.inf", "cells"),
    (nothing, "search --set train.cutout=-1", "train.cutout"),
    (nothing, "search --set train.drop_path=2", "drop_path"),
    (nothing, "search --set alignment.strength=.nan", "strength"),
    (nothing, "search --set penalty.strength=1 --method darts", "penalty"),
    (nothing, "search --set =3", "name=value"),
    (nothing, "search --set search=3", "search"),
    (nothing, "search --set search.epochs.more=3", "search.epochs"),
    (nothing, "search --set search.epochs={", "is not valid YAML"),
    (nothing, "search --set method.selection=magnitud", "did you mean 'magnitude'?"),
    (nothing, "search --space nasbench20", "did you mean 'nasbench201'?"),
    (nothing, "search --method lambda-dart", "did you mean 'lambda-darts'?"),
    (nothing, "search --preset smal", "did you mean 'small'?"),
    (nothing, "search --epochs 3", "--epochs"),
    (nothing, "serch", "serch"),
    (nothing, "search --method blank-pt --set hypergradient=unrolled", "never trains"),
    (nothing, "search --method darts --set curriculum=blank", "magnitude says nothing"),
    (nothing, "search --set curriculum=warm-up --set curriculum.share=0.999", "leaves none"),
    (nothing, "search --space s2 --set without=[skip_connect]", "2 are needed"),
    (nothing, "search --set search.weights.momentum=0 --set search.weights.nesterov=true", "nesterov"),
    (nothing, "search --seed -1", "seed"),
    (nothing, "search --seed 99999999999999999999999", "seed"),
    (nothing, "search --seed 1.5", "seed"),
    (nothing, "search --device cuda:99", "cuda"),
    (nothing, "search --precision bf16", "unknown precision 'bf16'"),
    (nothing, "search --space", "--space"),
    (nothing, "search extra", "extra"),
    (nothing, "list datas", "did you mean 'data'?"),
    (nothing, "export x", "--to"),
]

VAST = 10**18
SETTINGS += [
    (nothing, f"search --set {name}={VAST}", name.removeprefix("space."))
    for name in (
        "space.channels", "space.cells", "search.batch_size", "search.epochs", "search.max_size",
        "search.images_per_half", "search.crop_padding", "search.cutout", "train.channels", "train.cells",
        "train.batch_size", "train.epochs", "train.crop_padding", "train.cutout", "data.size",
    )
]  # fmt: skip
SETTINGS += [
    (nothing, f"search --space nasbench201 --set space.cells={VAST}", "cells must be at most 65,536"),
    (nothing, "search --set space.channels=65537", "channels must be at most 65,536, got 65537"),
    (nothing, "search --set search.batch_size=65537", "less than or equal to 65536"),
    (nothing, f"bench speed --batch-size {VAST}", "batch_size must be at most 65,536"),
    (nothing, f"bench speed --image-size {VAST}", "image_size must be at most 65,536"),
    (nothing, f"bench speed --channels {VAST}", "channels must be at most 65,536"),
]


# --- where a run goes ---

OUT = [
    (written("home/thesis.tex", "x"), f"search {SMALL} --out home", "not a poise run's"),
    (written("home/thesis.tex", "x"), f"search {SMALL} --out home --overwrite", "not a poise run's"),
    (written("file", "x"), f"search {SMALL} --out file", "is a file"),
    (written("file", "x"), f"search {SMALL} --out file/run", "file"),
    (written("darts.txt", DARTS), "train darts.txt --data digits --out darts.txt", "is a file"),
    (written("darts.txt", DARTS), "train darts.txt --data digits --out darts.txt/net", "darts.txt"),
    (nothing, f"search {SMALL} --out {'x' * 300}", "File name too long"),
]


# --- genotypes ---


def genotype(content: bytes | str) -> Prepare:
    return written("g.json", content)


def choices(space: Any = "darts", version: Any = 1, **given: Any) -> Prepare:
    return genotype(json.dumps({"format": "poise.genotype", "version": version, "space": space, "choices": given}))


TRAIN = "train g.json --data digits"
GENOTYPES = [
    (nothing, TRAIN, "g.json"),
    (genotype(""), TRAIN, "g"),
    (genotype(b"\xff\xfe\x00"), TRAIN, "not text"),
    (genotype("__import__('os').mkdir('evil')"), TRAIN, "not a genotype"),
    (genotype("(" * 5000), TRAIN, "g"),
    (genotype("[" * 100_000), TRAIN, "g"),
    (genotype("[]"), TRAIN, "g"),
    (genotype('{"format": "poise.genotype", "ver'), TRAIN, "g"),
    (genotype('{"format": "poise.run"}'), TRAIN, "g"),
    (choices(space="dart"), TRAIN, "did you mean 'darts'?"),
    (choices(space=3), TRAIN, "space"),
    (choices(version=99), TRAIN, "version"),
    (choices(version="x"), TRAIN, "version"),
    (choices(normal=3), TRAIN, "normal"),
    (choices(normal={}, reduce={}), TRAIN, "computes nothing"),
    (genotype(DARTS.replace("sep_conv_3x3", "sep_conv_3")), TRAIN, "did you mean 'sep_conv_3x3'?"),
    (genotype(DARTS.replace("', 1)", "', 9)")), TRAIN, "9"),
    (genotype(DARTS.replace("', 1)", "', -1)")), TRAIN, "-1"),
    (genotype(DARTS), f"{TRAIN} --channels 0", "channels"),
    (genotype(DARTS), f"{TRAIN} --channels -3", "channels"),
    (genotype(DARTS), f"{TRAIN} --cells 1", "cells"),
    (genotype(DARTS), f"{TRAIN} --epochs -1", "epochs"),
    (genotype(DARTS), f"{TRAIN} --channels {VAST}", "train.channels"),
    (genotype(DARTS), f"{TRAIN} --cells {VAST}", "train.cells"),
    (genotype(DARTS), f"{TRAIN} --epochs {VAST}", "train.epochs"),
    (genotype(DARTS), f"{TRAIN} --set train.batch_size={VAST}", "less than or equal to 65536"),
    (genotype(DARTS), f"{TRAIN} --preset tiny", "unknown preset 'tiny'"),
    (genotype(DARTS), f"{TRAIN} --set train.batch_size=99999", "99999"),
    (genotype(DARTS), f"{TRAIN} --set train.crop_padding=8", "crop_padding"),
    (lambda root: (root / "g.json").mkdir(), TRAIN, "run.json"),
]


# --- damaged runs ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search as it is saved after its end, and a network; nothing was trained for either."""
    from poise.config.resolve import dump, resolve
    from poise.engine.run import RunFolder
    from poise.genotype import Genotype
    from poise.spaces.space import SPACES, ImageShape
    from poise.workflow.prepare import Preparation
    from poise.workflow.saved_supernet import save_supernet

    root = tmp_path_factory.mktemp("runs")
    sizes = {"space.channels": 2, "space.cells": 3, "search.batch_size": 8, "search.images_per_half": 16}
    sizes |= {"train.channels": 2, "train.cells": 3}
    settings = resolve(preset="demo", method="darts", overrides=list(sizes.items()), data="digits", device="cpu")
    found = Genotype.parse(DARTS)
    folder = RunFolder.create(root / "run", "search", dump(settings), "")
    save_supernet(folder, Preparation.of(settings).searcher())
    for name in ("genotype-magnitude.json", "genotype.json"):
        folder.write(name, found.to_json())
    folder = RunFolder.create(root / "net", "train", dump(settings), "")
    network = SPACES["darts"]().network(found, ImageShape(1, (8, 8), 10), channels=2, cells=3, auxiliary=False)
    folder.save_tensors("network.safetensors", network.state_dict())
    names = [str(name) for name in range(10)]
    about: dict[str, Any] = {
        "space": "darts", "form": None, "channels": 2, "cells": 3, "auxiliary": False,
        "task": {"name": "classification"},
        "labels": {"names": names, "statistics": {"count": [1.0] * 10}},
        "inputs": {
            "kind": "images", "streamed": False,
            "shape": {"channels": 1, "size": [8, 8], "outputs": 10, "dense": False},
            "channel_order": "grey", "unit": 255.0, "range": [0, 1], "mean": [0.3], "std": [0.4],
        },
    }  # fmt: skip
    folder.write("network.json", json.dumps(about))
    folder.write("genotype.json", found.to_json())
    return root


def replace(name: str, old: str, new: str) -> Prepare:
    def prepare(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return prepare


def about(name: str, value: Any) -> Prepare:
    """A dotted name of what a network says of itself, set to another value."""

    def prepare(root: Path) -> None:
        path = root / "net" / "network.json"
        found = json.loads(path.read_text())
        *sections, last = name.split(".")
        inner = found
        for section in sections:
            inner = inner[section]
        assert last in inner
        inner[last] = value
        path.write_text(json.dumps(found))

    return prepare


def half(name: str) -> Prepare:
    return lambda root: cut(root / name, len((root / name).read_bytes()) // 2)


def gone(name: str) -> Prepare:
    return lambda root: (root / name).unlink()


EVALUATE, EXPORT = "evaluate net --data digits", "export net --to safetensors"
PERTURB = "select run --rule perturbation"
RUNS = [
    (nothing, "select net", "is the run of a 'train'"),
    (nothing, "evaluate run --data digits", "is the run of a 'search'"),
    (nothing, "export run --to onnx", "is the run of a 'search'"),
    (nothing, "export net --to onxx", "did you mean 'onnx'?"),
    (nothing, "select run --rule magnitud", "did you mean 'magnitude'?"),
    (nothing, "select run --set space.channels=3", "settled when the supernet was trained"),
    (nothing, "select run --set selection.kep=1", "kep"),
    (nothing, f"{PERTURB} --data digit", "did you mean 'digits'?"),
    (nothing, "select run/run.json", "no run at"),
    (nothing, f"search --out run {SMALL}", "already holds a run"),
    (nothing, "train run --out run", "already holds a run"),
    (nothing, "train run --preset demo", "has its settings already"),
    (nothing, "evaluate net --data digits --device gpu", "unknown device 'gpu'"),
    (written("run/run.json", ""), "select run", "run.json is damaged"),
    (written("run/run.json", "[]"), "show run", "run.json is damaged"),
    (written("run/run.json", "[" * 100_000), "show run", "run.json is damaged"),
    (written("run/run.json", b"\xff"), "show run", "run.json is damaged"),
    (written("run/run.json", "{}"), "select run", "not of a run that this poise can read"),
    (replace("run/run.json", '"version": 1', '"version": 2'), "select run", "that this poise can read"),
    (gone("run/run.json"), "select run", "holds no run.json"),
    (gone("run/config.yaml"), "select run", "config.yaml"),
    (written("run/config.yaml", ""), "show run", "config.yaml"),
    (written("run/config.yaml", b"\xff"), "train run", "config.yaml"),
    (replace("run/config.yaml", "name: darts", "name: dart"), "show run", "run searched 'dart', a space"),
    (replace("run/config.yaml", "channels: 2", "channels: 3"), PERTURB, "does not fit the run's configuration"),
    (replace("run/config.yaml", "channels: 2", "chanels: 2"), "select run", "chanels"),
    (gone("run/alphas.safetensors"), "select run", "holds no alphas.safetensors"),
    (half("run/alphas.safetensors"), "select run", "alphas.safetensors is damaged"),
    (half("run/alphas.safetensors"), "show run", "alphas.safetensors is damaged"),
    (written("run/alphas.safetensors", b""), "select run", "alphas.safetensors is damaged"),
    (written("run/alphas.safetensors", b"\xff" * 200), "select run", "alphas.safetensors is damaged"),
    (gone("run/supernet.safetensors"), PERTURB, "holds no supernet.safetensors"),
    (half("run/supernet.safetensors"), PERTURB, "supernet.safetensors is damaged"),
    (written("run/adam.safetensors", b"\xff" * 200), PERTURB, "adam.safetensors is damaged"),
    (gone("run/genotype.json"), "train run", "genotype.json"),
    (half("run/genotype.json"), "train run", "g"),
    (replace("run/genotype.json", "darts", "nasbench201"), "train run", "nasbench201"),
    (gone("net/network.json"), EVALUATE, "holds no network.json"),
    (half("net/network.json"), EVALUATE, "network.json is damaged"),
    (written("net/network.json", "{}"), EXPORT, "network.json is damaged"),
    (about("channels", "x"), EVALUATE, "channels"),
    (about("channels", -1), EVALUATE, "channels"),
    (about("channels", VAST), EVALUATE, "channels must be at most 65,536"),
    (about("cells", VAST), EVALUATE, "cells must be at most 65,536"),
    (about("inputs.shape.size", [8]), EVALUATE, "network.json is damaged"),
    (about("inputs.shape.size", [0, -8]), EVALUATE, "size"),
    (about("inputs.std", [0.0]), EVALUATE, "net/network.json is damaged"),
    (about("inputs.mean", []), EVALUATE, "mean"),
    (about("inputs.shape.outputs", 2), EVALUATE, "does not fit"),
    (about("channels", 3), EXPORT, "does not fit"),
    (about("task", "clasification"), EVALUATE, "it does not say what the network is for"),
    (about("task.name", "clasification"), EVALUATE, "did you mean 'classification'?"),
    (about("labels.names", ["a", "b"]), EVALUATE, "it does not describe a network"),
    (about("labels", {"names": ["a", "b"], "statistics": {}}), EVALUATE, "was trained for 2 classes"),
    (gone("net/network.safetensors"), EXPORT, "holds no network.safetensors"),
    (half("net/network.safetensors"), EXPORT, "network.safetensors is damaged"),
    (half("net/genotype.json"), EXPORT, "g"),
    (gone("net/config.yaml"), "evaluate net", "config.yaml"),
    (replace("net/config.yaml", "source: digits", "source: digit"), "evaluate net", "did you mean 'digits'?"),
    (arrays(images=PIXELS, labels=LABELS), "evaluate net --data data.npz", "10 classes"),
    (nothing, f"{EXPORT} --out run/run.json/model", "run.json"),
    (written("net/result.json", "{"), "show net", "result.json is damaged"),
]


def listing(root: Path) -> dict[str, str]:
    """Every path below ``root`` with what is in it: a hash, the target of a link, or that it is a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link to {path.readlink()}"
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def rows() -> list[Any]:
    made = []
    for table_, saved in ((FOLDERS + OTHERS + SETTINGS + OUT + GENOTYPES + LABELLED, False), (RUNS, True)):
        for row in table_:
            given, marks = (row.values, row.marks) if hasattr(row, "values") else (row, ())
            made.append(pytest.param(*given, saved, marks=marks, id=f"{len(made)}: {given[1]:.70}"))
    return made


@pytest.mark.parametrize(("prepare", "command", "expected", "saved"), rows())
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Prepare,
    command: str,
    expected: str,
    saved: bool,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a step was trained")

    monkeypatch.setattr("poise.engine.search.SearchTrainer.step", never)
    monkeypatch.setattr("poise.engine.train.NetworkTrainer.step", never)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    if saved:
        shutil.copytree(request.getfixturevalue("runs"), tmp_path, dirs_exist_ok=True)
    prepare(tmp_path)
    before = listing(tmp_path)
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    captured = capfd.readouterr()
    assert stopped.value.code == 2, captured.out
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("poise: ")
    assert "Traceback" not in captured.err + captured.out
    assert len(captured.err) < 1500
    assert expected in captured.err
    assert listing(tmp_path) == before
