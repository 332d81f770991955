"""Without an extra: what needs it is refused in one line before any work is done, and all else works."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

from bare import DECLARED, others, run_bare
from conftest import TINY, TINY_TRAIN, Poise
from poise.data.source import open_source
from poise.errors import Refused
from poise.extras import EXTRAS, check_extra, missing


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """As if no package of the extras that the test names were there."""
    for package in (package for extra in request.param for package in EXTRAS[extra]):
        monkeypatch.setitem(sys.modules, package, None)


def trained(folder: Path) -> Path:
    """What looks like a trained network, until it is loaded."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": "poise.run", "version": 1, "kind": "train"}))
    (folder / "config.yaml").write_text("")
    return folder


def test_every_extra_is_declared_and_installed_here() -> None:
    declared = DECLARED["optional-dependencies"]
    imported = {"mlflow-skinny": "mlflow"}  # where a package is imported by another name
    names = {extra: [Requirement(each).name for each in declared[extra]] for extra in EXTRAS}
    assert {extra: tuple(imported.get(name, name) for name in found) for extra, found in names.items()} == EXTRAS
    assert declared["all"] == [f"poise[{','.join(EXTRAS)}]"]
    assert {"poise[all]"} <= set(declared["dev"]), "tests need all of them"
    assert not {package for packages in EXTRAS.values() for package in packages} & {
        Requirement(each).name for each in DECLARED["dependencies"]
    }
    assert not [package for extra in EXTRAS for package in missing(extra)]


@pytest.mark.parametrize("without", [["onnx"]], indirect=True)
def test_onnx(without: None, poise: Poise, tmp_path: Path) -> None:
    net = trained(tmp_path / "net")
    refused = poise("export", net, "--to", "onnx")
    line = "poise: an export to onnx needs onnx and onnxscript; to install: pip install 'poise[onnx]'\n"
    assert (refused.code, refused.err) == (2, line)
    assert "onnx" in poise("list", "exports").out
    other = poise("export", net, "--to", "python")
    assert "pip" not in other.err, "another format does not ask for it"
    assert {path.name for path in net.iterdir()} == {"run.json", "config.yaml"}


@pytest.mark.parametrize("without", [["predict"]], indirect=True)
def test_predict(without: None, poise: Poise, tmp_path: Path) -> None:
    for name in ("model.onnx", "image.png"):
        (tmp_path / name).touch()
    refused = poise("predict", "model.onnx", "image.png")
    line = "poise: predicting with model.onnx needs onnxruntime; to install: pip install 'poise[predict]'\n"
    assert (refused.code, refused.err) == (2, line)
    other = poise("predict", trained(tmp_path / "net"), "image.png")
    assert "pip" not in other.err, "a folder does not ask for it"


@pytest.mark.parametrize("without", [["hub"]], indirect=True)
def test_hub(without: None, poise: Poise, tmp_path: Path) -> None:
    reason = "hf:owner/name needs datasets and huggingface_hub; to install: pip install 'poise[hub]'"
    refused = poise("search", "--data", "hf:owner/name", "--out", "run")
    assert (refused.code, refused.err) == (2, f"poise: {reason}\n")
    with pytest.raises(Refused, match=f"^{re.escape(reason)}$"):
        open_source("hf:owner/name")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("without", [["hub"]], indirect=True)
def test_large_parquet_files(without: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [b"1"] * 10, "label": [0, 1] * 5}), path)
    open_source(path)
    monkeypatch.setattr("poise.data.sources.parquet.HELD", 0)
    with pytest.raises(Refused, match=r"^images.parquet, of more than 0 bytes, needs datasets and huggingface_hub; to"):
        open_source(path)


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_folder_of_the_packages_name_is_not_the_package(
    extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not missing(extra)
    for package in EXTRAS[extra]:
        (tmp_path / package).mkdir()
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(each for each in sys.path if "site-packages" not in each)])
    with pytest.raises(Refused, match=rf"^it needs .*pip install 'poise\[{extra}\]'$"):
        check_extra(extra, "it")


EVERY_MODULE = """
import importlib, pkgutil
import poise
for found in pkgutil.walk_packages(poise.__path__, "poise."):
    if found.name != "poise.__main__":
        importlib.import_module(found.name)
"""


def test_a_bare_installation_imports_every_module() -> None:
    absent = others()
    assert {"datasets", "pandas", "tensorboard", "onnx", "pytest"} <= set(absent)
    assert not {"torch", "numpy", "poise"} & set(absent)
    run_bare(EVERY_MODULE)


@pytest.mark.parametrize("without", [tuple(EXTRAS)], indirect=True)
def test_what_a_bare_installation_can_do(without: None, poise: Poise, images: Path, tmp_path: Path) -> None:
    run, net = tmp_path / "run", tmp_path / "run" / "net"
    note = "without TensorBoard no events are written for it; to install: pip install 'poise[tensorboard]'"
    search = poise("search", "--data", images, "--space", "darts", "--method", "darts", "--out", run, *TINY)
    assert search.code == 0, search.err
    assert (search.out + search.err).count(note) == 1
    train = poise("train", run, *TINY_TRAIN, "--set=train.epochs=2")
    assert train.code == 0, train.err
    assert (train.out + train.err).count(note) == 1, "once a run, whatever its epochs"
    for to in ("python", "safetensors"):
        assert poise("export", net, "--to", to).code == 0
    assert {path.suffix for path in net.glob("model*")} == {".py", ".safetensors"}
    assert not list(tmp_path.rglob("tensorboard*"))
