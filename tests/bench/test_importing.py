"""Official benchmark files become a table, and nothing in them is executed. All files here are made by the tests."""

from __future__ import annotations

import bz2
import collections
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise.bench import importing
from poise.bench.importing import HEADER, MAGIC, convert, import_nasbench201
from poise.bench.official import import_official
from poise.bench.restricted import read_pickle
from poise.bench.table import Table, open_table
from poise.errors import Refused
from poise.genotype import Genotype

SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
CONV = SKIP.replace("skip_connect", "nor_conv_3x3")
POOL = SKIP.replace("skip_connect", "avg_pool_3x3")
NAMES = [SKIP, POOL, CONV]


def trial(name: str, seed: int, epochs: int, splits: dict[str, float], params: float = 0.5) -> dict[str, Any]:
    """What is kept of one training. The last epoch's accuracy counts; those before are 1 lower each."""
    accuracies = {
        f"{split}@{epoch}": last - (epochs - 1 - epoch) for split, last in splits.items() for epoch in range(epochs)
    }
    return {
        "name": name,
        "train_acc1es": collections.OrderedDict((epoch, 10.0) for epoch in range(epochs)),
        "train_losses": dict.fromkeys(range(epochs), 2.0),
        "arch_config": {"channel": 16, "num_cells": 5, "class_num": 10},
        "params": np.float64(params),
        "flop": 12.5,
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float32(0.01)],
        "eval_names": list(splits),
        "eval_acc1es": accuracies,
        "eval_times": dict.fromkeys(accuracies, 1.0),
        "eval_losses": dict.fromkeys(accuracies, 0.1),
        "net_state_dict": None,
    }


def results(index: int, epochs: int, base: float) -> dict[str, Any]:
    seeds = [777, 888] if epochs == 200 else [111]
    sets = {
        "cifar10": ("ori-test",),
        "cifar10-valid": ("x-valid", "ori-test"),
        "cifar100": ("x-valid", "x-test", "ori-test"),
        "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
    }
    trials = {}
    for number, (name, splits) in enumerate(sets.items()):
        for seed in seeds:
            values = {split: base + 10 * number + place + (seed == 888) for place, split in enumerate(splits)}
            trials[name, seed] = trial(name, seed, epochs, values)
    return {
        "arch_index": index,
        "arch_str": NAMES[index],
        "all_results": trials,
        "dataset_seed": dict.fromkeys(sets, seeds),
        "clear_net_done": True,
    }


def whole(short: str = "12", long: str = "200") -> dict[str, Any]:
    """All but the second architecture was trained."""
    infos = {index: {long: results(index, 200, 50.0 + index), short: results(index, 12, 20.0)} for index in (0, 2)}
    return {"meta_archs": NAMES, "total_archs": 3, "arch2infos": infos, "evaluated_indexes": {0, 2}}


def as_bz2(folder: Path, value: object, name: str = "NATS-tss.pickle.pbz2", protocol: int = 4) -> Path:
    path = folder / name
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol)))
    return path


def as_folder(folder: Path, value: dict[str, Any]) -> Path:
    made = folder / "NATS-tss-simple"
    made.mkdir()
    as_bz2(made, {**value, "arch2infos": None, "evaluated_indexes": set()}, "meta.pickle.pbz2")
    for index, info in value["arch2infos"].items():
        as_bz2(made, info, f"{index:06d}.pickle.pbz2")
    return made


def as_torch(folder: Path, value: object, legacy: bool) -> Path:
    path = folder / "NAS-Bench-201.pth"
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "NATS-Bench, one file": lambda folder: as_bz2(folder, whole()),
    "NATS-Bench, folder": lambda folder: as_folder(folder, whole()),
    "NAS-Bench-201, zip": lambda folder: as_torch(folder, whole("less", "full"), legacy=False),
    "NAS-Bench-201, legacy": lambda folder: as_torch(folder, whole("less", "full"), legacy=True),
    "NAS-Bench-201 with weights": lambda folder: as_torch(
        folder, {**whole("less", "full"), "weights": {"w": torch.ones(3), "i": torch.ones(2).long()}}, legacy=False
    ),
    "protocol 2": lambda folder: as_bz2(folder, whole(), protocol=2),
}


def converted(source: Path, folder: Path) -> Table:
    target = folder / "table.csv.gz"
    convert(source, target)
    return open_table(target)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_table(tmp_path: Path, form: str) -> None:
    table = converted(FORMS[form](tmp_path), tmp_path)
    assert table.texts == (SKIP, CONV), "the second was never trained"
    assert table.metrics == HEADER[2:]
    found = dict(table.row(CONV))
    assert found == {
        "c10_test_200": 52.5,  # 52 and 53
        "c100_test_200": 73.5,
        "in16_test_200": 83.5,
        "c10_val_200_mean_nb201": 62.5,
        "c100_val_200_mean": 72.5,
        "in16_val_200_mean": 82.5,
        "c10_test_200_trainsplit": 63.5,
        "c10_test_12": 20.0,
        "c10_val_12": 30.0,
        "c100_test_12": 41.0,
        "c100_val_12": 40.0,
        "in16_test_12": 51.0,
        "in16_val_12": 50.0,
        "c10_params_M": 0.5,
        "c10_flops_M": 12.5,
    }
    assert table.row(SKIP)["cifar10"] == 50.5


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    source, target = as_folder(tmp_path, whole()), tmp_path / "table.csv"
    table = import_nasbench201(source, target)
    assert table.best("cifar10").genotype == Genotype.parse(CONV)
    assert target.read_text().startswith("index,arch,c10_test_200,")
    with pytest.raises(Refused, match="exists already"):
        import_nasbench201(source, target)
    with pytest.raises(Refused, match="no such folder"):
        import_nasbench201(source, tmp_path / "absent" / "table.csv")
    with pytest.raises(Refused, match=r"no such file: .*absent\.pth"):
        import_official(tmp_path / "absent.pth", tmp_path / "other.csv")


def test_what_is_absent_is_empty_and_odd_costs_are_those_of_one_seed(tmp_path: Path) -> None:
    value = whole()
    trials = value["arch2infos"][0]["200"]["all_results"]
    for key in [key for key in trials if key[0] == "cifar100"]:
        del trials[key]
    del trials["ImageNet16-120", 888]["eval_acc1es"]["x-test@199"]
    trials["cifar10", 777]["params"] = 9.0
    del value["arch2infos"][2]["12"]
    table = converted(as_bz2(tmp_path, value), tmp_path)
    first = table.row(SKIP)
    assert "c100_test_200" not in first
    assert first["in16_test_200"] == 81.0 - 0.0, "of one seed only"
    assert first["params"] == 0.5
    assert "c10_test_12" not in table.row(CONV)


class Calls:
    """Pickles into a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


def global_of(module: str, name: str, argument: bytes = b"X\x04\x00\x00\x00true") -> bytes:
    """A pickle of protocol 2 that calls ``module.name`` with one text."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + argument + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("torch", "load"),
        ("torch", "os.system"),
        ("torch.serialization", "os.system"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.jit", "load"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("collections", "OrderedDict.__reduce__"),
        ("collections", "namedtuple"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("pickle", "loads"),
        ("codecs", "open"),
        ("poise.bench.restricted", "read_pickle"),
    ],
)
def test_names_outside_of_the_list_are_refused(module: str, name: str) -> None:
    with pytest.raises(Refused, match=rf"asks for {module}\.{name}, which"):
        read_pickle(io.BytesIO(global_of(module, name)), "file")


@pytest.mark.parametrize("form", ["bz2", "zip", "legacy", "folder", "meta"])
def test_a_file_that_calls_something_is_refused_and_nothing_happens(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "executed"
    value = whole("less", "full") if form in ("zip", "legacy") else whole()
    evil = Calls(os.system, f"touch {mark}")
    value["arch2infos"][0]["deep"] = [{"nested": (evil,)}]
    if form == "folder":
        source = as_folder(tmp_path, value)
    elif form == "meta":
        source = as_folder(tmp_path, {**whole(), "more": evil})
    else:
        source = as_bz2(tmp_path, value) if form == "bz2" else as_torch(tmp_path, value, form == "legacy")
    with pytest.raises(Refused, match=r"asks for (posix|nt)\.system, which no table of results needs"):
        convert(source, tmp_path / "table.csv")
    assert not mark.exists()
    assert not (tmp_path / "table.csv").exists()
    pickle.loads(pickle.dumps(evil))  # noqa: S301  (the bait does bite)
    assert mark.exists()


def test_known_names_are_stand_ins() -> None:
    """Calling what is on the list does nothing, and what a file does to a stand-in dies with it."""
    stream = io.BytesIO()
    pickle.dump({"a": np.arange(3), "b": b"\xff\x00", "s": {1}, "n": np.int64(7), "f": np.float32(0.5)}, stream, 2)
    stream.seek(0)
    value = read_pickle(stream, "file")
    assert type(value["a"]).__name__ == "Inert"
    assert (value["b"], value["s"], value["n"], value["f"]) == (b"\xff\x00", {1}, 7, 0.5)
    # BUILD with attributes, on a class: {"__init__": OrderedDict}; and on a function: {"__kwdefaults__": {}}
    of_class = b"cnumpy\nndarray\nN}X\x08\x00\x00\x00__init__ccollections\nOrderedDict\ns\x86b."
    with pytest.raises(Refused, match="damaged"):
        read_pickle(io.BytesIO(b"\x80\x02" + of_class), "file")
    of_type = of_class.replace(b"numpy\nndarray", b"builtins\nset")
    with pytest.raises(Refused, match="damaged: cannot set '__init__' attribute of immutable type 'set'"):
        read_pickle(io.BytesIO(b"\x80\x02" + of_type), "file")
    of_function = b"\x80\x02cnumpy.core.multiarray\nscalar\nN}X\x0c\x00\x00\x00__defaults__Ns\x86b."
    read_pickle(io.BytesIO(of_function), "file")
    stream.seek(0)
    assert type(read_pickle(stream, "file")["a"]).__name__ == "Inert"
    assert np.ndarray((1,)).shape == (1,)
    assert collections.OrderedDict(a=1)["a"] == 1


def test_other_encodings_are_refused() -> None:
    code = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(Refused, match="encodes 'a' as 'rot13'"):
        read_pickle(io.BytesIO(code), "file")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04",
        b"not a pickle",
        b"\x80\x09N.",
        b".",
        b"\x80\x04K\x01K\x02R.",
        b"\x80\x04X\xff\xff\xff\x7fa.",
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x7fa.",
        b"\x80\x04\x8a\xff1.",
        pickle.dumps(whole())[:-500],
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x04]]Rs.",
    ],
)
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(Refused, match=r"^file: the pickle"):
        read_pickle(io.BytesIO(data), "file")


def test_every_cut_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"meta_archs": NAMES, "arch2infos": {0: {"12": {"params": np.float64(1)}}}}, 4)
    for length in range(len(data)):
        with pytest.raises(Refused):
            read_pickle(io.BytesIO(data[:length]), "file")
    packed = as_bz2(tmp_path, whole()).read_bytes()
    for length in (0, 3, 20, len(packed) // 2, len(packed) - 1):
        path = tmp_path / "cut.pbz2"
        path.write_bytes(packed[:length])
        with pytest.raises(Refused):
            convert(path, tmp_path / "table.csv")
    stored = as_torch(tmp_path, whole("less", "full"), legacy=False).read_bytes()
    path.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(Refused, match="cannot read"):
        convert(path, tmp_path / "table.csv")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """Lists do no harm. Tuples as a key would take the interpreter down: it is another process that goes."""
    lists = b"\x80\x04" + b"]" * 300_000 + b"a" * 299_999 + b"."
    with pytest.raises(Refused, match="must be a dict"):
        convert(write(tmp_path, bz2.compress(lists)), tmp_path / "table.csv")
    tuples = b"\x80\x04})" + b"\x85" * 3_000_000 + b"Ns."
    with pytest.raises(Refused, match=r"made its reader stop|must be a dict|meta_archs"):
        import_nasbench201(write(tmp_path, bz2.compress(tuples)), tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def write(folder: Path, data: bytes) -> Path:
    path = folder / "file.pbz2"
    path.write_bytes(data)
    return path


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_WHOLE", 2**20)
    monkeypatch.setattr(importing, "MOST_SINGLE", 2**20)
    bomb = pickle.dumps({"meta_archs": NAMES, "arch2infos": {0: b"\0" * 2**25}})
    packed = bz2.compress(bomb)
    assert len(packed) < 2000
    target = tmp_path / "table.csv"
    with pytest.raises(Refused, match="more than 1,048,576 bytes once unpacked"):
        convert(write(tmp_path, packed), target)
    folder = tmp_path / "simple"
    folder.mkdir()
    (folder / "meta.pickle.pbz2").write_bytes(packed)
    with pytest.raises(Refused, match="more than 1,048,576 bytes once unpacked"):
        convert(folder, target)
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bomb)
    with pytest.raises(Refused, match="more than 1,048,576 bytes once unpacked"):
        convert(tmp_path / "bomb.pth", target)


def change(**changes: object) -> dict[str, Any]:
    return {**whole(), **changes}


def with_trial(**changes: object) -> dict[str, Any]:
    value = whole()
    value["arch2infos"][0]["200"]["all_results"]["cifar10", 777].update(changes)
    return value


def with_results(**changes: object) -> dict[str, Any]:
    value = whole()
    value["arch2infos"][0]["200"].update(changes)
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2], "must be a dict, got"),
        ({}, "arch2infos must be a dict, got None"),
        (change(meta_archs=None), "meta_archs must be a list"),
        (change(meta_archs=NAMES * 10_000), "at most 15,625 texts"),
        (change(meta_archs=[1]), "must hold architecture strings, got 1"),
        (change(arch2infos=[1]), "arch2infos must be a dict"),
        (change(arch2infos={0: []}), r"arch2infos\[0\] must be a dict"),
        (change(arch2infos={}), "holds no results of any architecture"),
        (change(meta_archs=[CONV, POOL, SKIP]), "architecture 0: meta_archs says .* the results"),
        (with_results(all_results=3), "all_results must be a dict"),
        (with_results(all_results={"cifar10": {}}), r"named \(data set, seed\), got 'cifar10'"),
        (with_trial(epochs=90), "has 90 epochs, expected 200"),
        (with_trial(eval_acc1es=None), "eval_acc1es must be a dict"),
        (with_trial(eval_acc1es={"ori-test@199": "93"}), "ori-test@199 must be a number, got '93'"),
        (with_trial(params="many"), "params must be a number"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, value: object, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        convert(as_bz2(tmp_path, value), tmp_path / "table.csv")
    assert len(str(refusal.value)) < 500


def test_numbers_that_are_none_are_refused_by_whoever_opens_the_table(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not finite"):
        converted(as_bz2(tmp_path, with_trial(eval_acc1es={"ori-test@199": float("inf")})), tmp_path)


def test_the_magic_number_is_torchs() -> None:
    assert torch.serialization.MAGIC_NUMBER == MAGIC
