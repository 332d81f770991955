"""A saved run of a module of one's own: used from a fresh process, which has the module and the folder alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from own_module import Net
from safetensors.torch import load_file, save_file
from torch import nn

import poise
from poise.engine.checkpointer import RunControl
from poise.engine.run import RunFolder
from poise.errors import Refused, Stopped
from poise.workflow.show import run_tables, show_search

SEARCH = {"search.epochs": 2, "search.images_per_half": 64, "search.batch_size": 32}
TRAIN = {"train.epochs": 1}

FRESH = """
import json, sys
import torch
from safetensors.torch import load_file, save_file
import poise
from own_module import Net

run, images, out = sys.argv[1:]
net = f"{run}/net"
loaded = poise.load_network(net, module=Net(seed=1))
measured = poise.evaluate(net, "digits", module=Net(seed=1))
files = poise.export(net, "safetensors", f"{out}/own", module=Net(seed=1))
selected = poise.select(run, "threshold", module=Net(seed=1))
numbers = poise.diagnose(run, ["discretisation"], module=Net(seed=1)).numbers
resumed = poise.resume(run, module=Net(seed=1))
trained = poise.train(run, module=Net(), settings={"train.epochs": 1}, out=f"{out}/again")
save_file({"logits": loaded.complete(load_file(images)["images"]).detach()}, f"{out}/logits.safetensors")
save_file({k: v.contiguous() for k, v in trained.network.state_dict().items()}, f"{out}/trained.safetensors")
print(json.dumps([measured, [str(file) for file in files], selected.genotype.to_json(), numbers,
                  resumed.genotype.to_json()]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of `Net`, with its trained network in ``net``."""
    path = tmp_path_factory.mktemp("own") / "run"
    found = poise.search(Net(), "digits", method="darts", preset="demo", settings=SEARCH, out=path)
    poise.train(found, settings=TRAIN, out=path / "net")
    return path


def fresh(code: str, *arguments: object) -> str:
    """What a program prints that runs in a process of its own, beside this file."""
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fresh_process_goes_on_with_the_folder_and_the_module(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    save_file({"images": images}, tmp_path / "images")
    here = poise.load_network(run / "net", module=Net(seed=3))
    measured, files, selected, numbers, genotype = json.loads(
        fresh(FRESH, copied, tmp_path / "images", tmp_path).splitlines()[-1]
    )
    with torch.no_grad():
        assert torch.equal(load_file(tmp_path / "logits.safetensors")["logits"], here.complete(images))
    assert measured["accuracy"] == here.result["test_accuracy"]
    assert [Path(file).name for file in files] == ["own.safetensors"]
    assert poise.Genotype.from_json(selected).choices.keys() == {"first", "activation"}
    assert selected == genotype, "the last selection's is the run's"
    assert numbers
    before = load_file(run / "net" / "network.safetensors")
    again = load_file(tmp_path / "trained.safetensors")
    assert before.keys() == again.keys()
    assert all(torch.equal(before[name], again[name]) for name in before), "the same weights to start from"


class Once:
    """Asks to stop at the second time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > 2


@pytest.mark.parametrize("stage", ["search", "train"])
def test_a_stopped_run_is_resumed_with_the_module(run: Path, tmp_path: Path, stage: str) -> None:
    def work(out: Path, control: RunControl) -> Any:
        if stage == "search":
            return poise.search(
                Net(), "digits", method="darts", preset="demo", settings=SEARCH, out=out, control=control
            )
        return poise.train(run, module=Net(), settings={"train.epochs": 2}, out=out, control=control)

    whole = work(tmp_path / "whole", RunControl())
    with pytest.raises(Stopped):
        work(tmp_path / "stopped", RunControl(0, Once()))
    with pytest.raises(Refused, match=r"poise.resume\(.*module=\.\.\.\)"):
        poise.resume(tmp_path / "stopped")
    with pytest.raises(Refused, match=r"another (supernet|network) than that of the run's configuration or module"):
        poise.resume(tmp_path / "stopped", module=Net(width=7))
    found = poise.resume(tmp_path / "stopped", module=Net(seed=5))
    name = "supernet.safetensors" if stage == "search" else "network.safetensors"
    one, other = (load_file(tmp_path / folder / name) for folder in ("whole", "stopped"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert found.genotype == whole.genotype


CALLS: dict[str, Callable[[Path, Any], Any]] = {
    "load_network": lambda run, module: poise.load_network(run / "net", module=module),
    "evaluate": lambda run, module: poise.evaluate(run / "net", "digits", module=module),
    "export": lambda run, module: poise.export(run / "net", "onnx", module=module),
    "train": lambda run, module: poise.train(run, module=module, out=run / "other"),
    "select": lambda run, module: poise.select(run, module=module),
    "diagnose": lambda run, module: poise.diagnose(run, module=module),
    "resume": lambda run, module: poise.resume(run, module=module),
}


@pytest.mark.parametrize("call", CALLS)
def test_without_the_module_one_line_says_how_to_pass_it(run: Path, call: str) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(Refused) as refused:
        CALLS[call](run, None)
    text = str(refused.value)
    assert f"poise.{call}('{run}" in text
    assert "module=...)" in text
    assert "\n" not in text
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


READS_NETWORK = ("load_network", "evaluate", "export")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda kept: Net(kernels=(5, 3 if kept == "k1" else 1)), None),
        (lambda kept: Net(width=7), "does not fit the run's configuration or module: 'module.first.candidates"),
        (lambda kept: nn.Linear(64, 10), "poise.Choice layers; got a Linear without one"),
        (lambda kept: Net, "poise.Choice layers; got the class Net"),
        (lambda kept: "net", "poise.Choice layers; got a str without one"),
    ],
    ids=["other candidates", "other shapes", "no Choice", "a class", "no module"],
)
def test_what_is_not_the_module_is_refused(
    run: Path, call: str, module: Callable[[str], Any], message: str | None
) -> None:
    (kept,) = RunFolder(run / "net").genotype().choices["first"]["choice"]
    if message is None:
        message = (
            f"operation on choice of 'first' in space 'custom' '{kept}'" if call in READS_NETWORK else "has the can"
        )
        message = f"module= is not the module of {run}.*{message}"
    elif call in READS_NETWORK:
        message = message.replace("'module.first.candidates", "'first")
    with pytest.raises(Refused, match=message) as refused:
        CALLS[call](run, module(kept))
    assert "\n" not in str(refused.value)


def test_the_order_of_the_candidates_is_the_order_of_the_alphas(run: Path) -> None:
    with pytest.raises(Refused, match="'first' has the candidates k3, k1, expected the candidates k1, k3"):
        poise.select(run, module=Net(kernels=(3, 1)))
    swapped = poise.load_network(run / "net", module=Net(kernels=(3, 1)))  # a network knows them by name
    assert swapped.genotype == RunFolder(run / "net").genotype()


def test_a_module_that_has_no_use_is_refused(run: Path, tmp_path: Path) -> None:
    trained = poise.load_network(run / "net", module=Net())
    space = poise.spaces.nasbench201(channels=2, cells=1)
    found = poise.search("digits", space=space, method="darts", preset="demo", settings=SEARCH, out=tmp_path / "bench")
    for work in (
        lambda: poise.evaluate(trained, "digits", module=Net()),
        lambda: poise.export(trained, "onnx", tmp_path / "x", module=Net()),
        lambda: poise.train(found, module=Net()),
        lambda: poise.diagnose(found, module=Net()),
        lambda: poise.select(tmp_path / "bench", module=Net()),
        lambda: poise.resume(tmp_path / "bench", module=Net()),
    ):
        with pytest.raises(Refused, match="module= is for a saved run of a module of your own"):
            work()
    with pytest.raises(Refused, match="the module or the space, not both"):
        poise.train(found.genotype, "digits", space=space, module=Net())


def test_a_genotype_of_a_module_is_trained_with_it(run: Path) -> None:
    genotype = RunFolder(run).genotype()
    trained = poise.train(genotype, "digits", module=Net(), preset="demo", settings=TRAIN)
    assert trained.result["test_accuracy"] > 0


def test_show_needs_no_module(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copied / "figures")
    space = show_search(RunFolder(copied))
    assert "activation=" in space.describe(RunFolder(copied).genotype())
    assert (copied / "figures" / "cells.svg").is_file()
    assert run_tables(RunFolder(copied), space)


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (["train", "RUN"], "train"),
        (["select", "RUN"], "select"),
        (["resume", "RUN"], "resume"),
        (["diagnose", "RUN"], "diagnose"),
        (["evaluate", "RUN/net"], "evaluate"),
        (["evaluate", "RUN/net", "--data", "digits"], "evaluate"),
        (["export", "RUN/net", "--to", "onnx"], "export"),
    ],
)
def test_the_command_line_says_which_python_to_write(
    run: Path, capsys: pytest.CaptureFixture[str], command: list[str], call: str
) -> None:
    from poise.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main([word.replace("RUN", str(run)) for word in command])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"poise.{call}('{run}" in err
    assert err.count("\n") == 1
