"""Bad input: one clear line on stderr, exit code 2, no traceback, nothing written or deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import TINY, TINY_TRAIN, Poise

DARTS = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)])"


def png(path: Path, value: int = 0, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)


def one_class(root: Path) -> None:
    for index in range(4):
        png(root / "data" / "cat" / f"{index}.png")


def lonely_class(root: Path) -> None:
    one_class(root)
    png(root / "data" / "dog" / "only.png")


def unreadable(root: Path) -> None:
    one_class(root)
    for index in range(4):
        png(root / "data" / "dog" / f"{index}.png")
    (root / "data" / "dog" / "1.png").write_bytes(b"no image")


def mixed_sizes(root: Path) -> None:
    one_class(root)
    for index in range(4):
        png(root / "data" / "dog" / f"{index}.png", size=6 + index)


def bad_labels(root: Path) -> None:
    np.savez(root / "data.npz", images=np.zeros((6, 8, 8), np.uint8), labels=np.array([0.5] * 6))


def fewer_labels(root: Path) -> None:
    np.savez(root / "data.npz", images=np.zeros((6, 8, 8), np.uint8), labels=np.array([0, 1]))


def empty_folder(root: Path) -> None:
    (root / "data").mkdir()


def genotypes(root: Path) -> None:
    (root / "darts.txt").write_text(DARTS)
    (root / "damaged.json").write_text('{"format": "poise.genotype", "ver')
    (root / "evil.txt").write_text("__import__('os').system('touch evil')")
    (root / "unknown.txt").write_text(DARTS.replace("sep_conv_3x3", "sep_conv_7x7"))
    (root / "binary.json").write_bytes(b"\xff\xfe\x00")
    empty = {"format": "poise.genotype", "version": 1, "space": "darts", "choices": {"normal": {}, "reduce": {}}}
    (root / "empty.json").write_text(json.dumps(empty))


def foreign_folder(root: Path) -> None:
    (root / "home").mkdir()
    (root / "home" / "thesis.tex").write_text("years of work")


def bad_yaml(root: Path) -> None:
    (root / "tags.yaml").write_text("space: !!python/object/apply:os.system ['touch evil']")
    (root / "list.yaml").write_text("[1, 2]")
    (root / "typo.yaml").write_text("serach: {epochs: 3}")


def bad_split(root: Path) -> None:
    (root / "split.json").write_text('{"train": [0, 1], "valid": [1, 2]}')


def nothing(root: Path) -> None:
    """An empty folder."""


CASES: list[tuple[Callable[[Path], None], str, str]] = [
    (nothing, "search --method dart", "unknown method 'dart'; did you mean 'darts'?"),
    (nothing, "search --space nasbench20", "unknown space 'nasbench20'; did you mean 'nasbench201'?"),
    (nothing, "search --preset smal", "unknown preset 'smal'; did you mean 'small'?"),
    (nothing, "search --device gpu", "unknown device 'gpu'"),
    (nothing, "search --precision 16", "unknown precision '16'"),
    (nothing, "search --metod darts", "--metod"),
    (nothing, "serach", "serach"),
    (nothing, "search --seed many", "--seed"),
    (nothing, "search --seed -1", "seed"),
    (nothing, "search --set search.epoch=3", "did you mean 'search.epochs'?"),
    (nothing, "search --set search.epochs", "name=value"),
    (nothing, "search --set search.epochs=0", "search.epochs"),
    (nothing, "search --set search.epochs=three", "search.epochs"),
    (nothing, "search --set space.channels=0", "channels must be a positive whole number"),
    (nothing, "search --set space.cells=2", "at least 3 cells"),
    (nothing, "search --set space.nodes=4", "unknown setting of space 'nodes'"),
    (nothing, "search --set method=darts", "--method darts"),
    (nothing, "search --set penalty=sum", "unknown penalty 'sum'"),
    (nothing, "search --set train.cutout=16", "cutout"),
    (nothing, "search --set search.weights.momentum=0 --set search.weights.nesterov=true", "nesterov"),
    (nothing, "search --method darts-2nd --set curriculum=blank --print-config", "never trains"),
    (nothing, "search --set alignment=layers", "unknown alignment 'layers'; did you mean 'layer'?"),
    (nothing, "search --set alignment.strenght=1", "did you mean 'strength'?"),
    (nothing, "search --set alignment.strength=-1", "strength >= 0"),
    (nothing, "search --set perturbation=random --set perturbation.final=2", "0 <= initial <= final <= 1"),
    (nothing, "search --set perturbation.steps=7", "unknown setting of method.perturbation 'steps'"),
    (nothing, "search --set without=[skip]  --set without=3", "list of candidates"),
    (nothing, "search --method lambda-darts --set space.cells=3", "at least 2 layers"),
    (nothing, "search --method darts --set curriculum=blank", "magnitude says nothing"),
    (nothing, "search --method blank-pt --set penalty=zero-one", "never trains"),
    (nothing, "search --method blank-pt --set hypergradient=unrolled", "never trains"),
    (nothing, "search --set curriculum=warm-up --set curriculum.share=0.99", "leaves none of the 12"),
    (
        nothing,
        "search --space nasbench201 --method fair-darts --set selection.form=edge",
        "keeps up to two candidates per row",
    ),
    (nothing, "search --space s2 --set without=[skip_connect]", "2 are needed"),
    (nothing, "search --data digit", "unknown data source 'digit'; did you mean 'digits'?"),
    (nothing, "search --data here/there", "here/there"),
    (empty_folder, "search --data data", "data"),
    (one_class, "search --data data", "one class"),
    (lonely_class, "search --data data", "dog"),
    (unreadable, "search --data data --set search.batch_size=2 --method darts", "1.png"),
    (mixed_sizes, "search --data data --set search.batch_size=2 --method darts", "data.size"),
    (bad_labels, "search --data data.npz", "labels"),
    (fewer_labels, "search --data data.npz", "6 images"),
    (nothing, "search --set search.batch_size=1000", "fewer than search.batch_size 1000"),
    (bad_split, "search --set data.split_file=split.json", "both halves"),
    (nothing, "search --set data.split_file=nowhere.json", "nowhere.json"),
    (bad_yaml, "search --config tags.yaml", "tags.yaml"),
    (bad_yaml, "search --config list.yaml", "must map settings to values"),
    (bad_yaml, "search --config typo.yaml", "did you mean"),
    (nothing, "search --config nowhere.yaml", "nowhere.yaml"),
    (foreign_folder, "search --out home", "not a poise run's"),
    (foreign_folder, "search --out home --overwrite", "not a poise run's"),
    (foreign_folder, "search --out home/thesis.tex", "is a file"),
    (genotypes, "train nowhere.json --data digits", "nowhere.json"),
    (genotypes, "train damaged.json --data digits", "damaged"),
    (genotypes, "train evil.txt --data digits", "not a genotype"),
    (genotypes, "train binary.json --data digits", "not text"),
    (genotypes, "train unknown.txt --data digits", "did you mean 'sep_conv_5x5'?"),
    (genotypes, "train empty.json --data digits", "computes nothing"),
    (genotypes, "train darts.txt --data digits --cells 2", "at least 3 cells"),
    (genotypes, "train darts.txt --data digits --epochs 0", "epochs"),
    (genotypes, "train darts.txt --data digit", "did you mean 'digits'?"),
    (foreign_folder, "train home", "holds no run.json"),
    (foreign_folder, "select home", "holds no run.json"),
    (nothing, "select nowhere", "no run at nowhere"),
    (nothing, "show nowhere", "no run at nowhere"),
    (nothing, "diagnose nowhere", "no run at nowhere"),
    (nothing, "diagnose nowhere --only eigenvalues", "unknown diagnostic 'eigenvalues'; did you mean 'eigenvalue'?"),
    (nothing, "diagnose nowhere --batches 0", "at least 1 batch, got 0"),
    (nothing, "search --set search.diagnostics=[landscape]", "not measured after every epoch"),
    (foreign_folder, "diagnose home", "holds no run.json"),
    (nothing, "evaluate nowhere --data digits", "no run at nowhere"),
    (nothing, "export nowhere --to onnx", "no run at nowhere"),
    (nothing, "export nowhere --to onx", "unknown export 'onx'; did you mean 'onnx'?"),
    (nothing, "list method", "unknown list 'method'; did you mean 'methods'?"),
]


def contents(root: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


@pytest.mark.parametrize(("prepare", "command", "expected"), CASES, ids=[case[1] for case in CASES])
def test_refused_in_one_line(
    poise: Poise, tmp_path: Path, prepare: Callable[[Path], None], command: str, expected: str
) -> None:
    prepare(tmp_path)
    before = contents(tmp_path)
    outcome = poise(*command.split())
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("poise: ")
    assert "Traceback" not in outcome.err + outcome.out
    assert contents(tmp_path) == before


def test_what_a_saved_run_refuses(poise: Poise, images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert poise("search", "--data", images, "--method=darts", "--out", run, *TINY).code == 0
    assert poise("train", run, *TINY_TRAIN).code == 0
    before = contents(tmp_path)
    supernet = (run / "supernet.safetensors").read_bytes()

    def refused(expected: str, *command: str | Path) -> None:
        outcome = poise(*command)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert expected in outcome.err

    look = f"look at it with poise show {run}, go on with poise train {run}, choose"
    refused(f"already holds a run, a finished search; {look}", "search", "--data", images, "--out", run, *TINY)
    refused("already holds a run, a finished training; look at it with", "train", run, *TINY_TRAIN)
    refused("unknown selection 'magnitud'", "select", run, "--rule", "magnitud")
    refused("is the run of a 'search'", "evaluate", run, "--data", images)
    refused("is the run of a 'train'", "select", run / "net")
    refused("is the run of a 'train'", "diagnose", run / "net")
    refused("unknown data source 'digit'", "diagnose", run, "--data", "digit")
    refused("settled when the supernet was trained", "select", run, "--set=space.channels=3")
    refused("was trained for 3 classes", "evaluate", run / "net", "--data", "digits")
    assert contents(tmp_path) == before

    (run / "supernet.safetensors").write_bytes(supernet[: len(supernet) // 2])
    refused("damaged", "select", run, "--rule=perturbation")
    (run / "supernet.safetensors").write_bytes(supernet)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("channels: 2", "channels: 3", 1))
    refused("does not fit", "select", run, "--rule=perturbation")
    (run / "config.yaml").write_text(config)
    (run / "genotype.json").write_text(
        json.dumps({"format": "poise.genotype", "version": 1, "space": "nasbench201", "choices": {"cell": {}}})
    )
    refused("belongs to space 'nasbench201', expected 'darts'", "train", run, "--out", tmp_path / "other")
    (run / "config.yaml").unlink()
    refused("config.yaml", "select", run)
