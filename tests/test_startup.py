"""What starts quickly: counted in modules, since seconds depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HEAVY = {
    "torch", "lightning_fabric", "datasets", "matplotlib", "scipy", "sklearn", "networkx", "pyarrow", "tensorboard",
    "onnx", "onnxscript", "numpy", "PIL", "mlflow", "wandb", "huggingface_hub",
}  # fmt: skip
SLOW_PARTS = {
    "torch._dynamo", "torch.onnx", "lightning_fabric", "datasets", "onnx", "onnxscript", "sklearn", "mlflow", "wandb",
    "huggingface_hub",
}  # fmt: skip
"""What torch's own import does not bring, and takes as long again."""
COMMANDS = """
import contextlib, io, json, sys
from poise.cli.main import main
found = []
for words in json.loads(sys.argv[1]):
    shown, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    found.append((code, told.getvalue(), sorted(sys.modules)))
print(json.dumps(found))
"""


def run(script: str, *arguments: str, folder: Path | None = None) -> Any:
    """What a script prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def commands(all_words: list[list[str]], folder: Path) -> list[tuple[int, str, set[str]]]:
    """Several commands in one process: exit code, standard error, and what is imported by then."""
    found = run(COMMANDS, json.dumps(all_words), folder=folder)
    return [(code, told, set(modules)) for code, told, modules in found]


MODULES = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def test_importing_poise_imports_nothing_else() -> None:
    modules = set(run("import poise; dir(poise); poise.__version__; poise.Refused" + MODULES))
    assert not modules & HEAVY
    assert {name for name in modules if name.startswith("poise")} == {"poise", "poise.errors"}


def test_neither_the_python_api_nor_a_device_imports_what_is_slow() -> None:
    place = "from poise.engine.device import Place; Place.open('cpu')"
    modules = set(run(f"import poise; [getattr(poise, name) for name in poise.__all__]; {place}" + MODULES))
    assert "torch" in modules
    assert not modules & SLOW_PARTS


def test_a_genotype_is_read_without_torch() -> None:
    texts = ["|a~0|+|a~0|a~1|+|a~0|a~1|a~2|", "Genotype(normal=[], reduce=[('a', 2, 0)])"]
    read = "from poise.genotype import Genotype; import sys; [Genotype.parse(text) for text in sys.argv[1:]]"
    modules = set(run(read + MODULES, *texts))
    assert not modules & HEAVY
    assert "poise.notations.edges" in modules


def test_help_and_lists_import_no_torch(tmp_path: Path) -> None:
    lists = ("methods", "slots", "spaces", "selections", "data", "diagnostics", "exports", "trackers")
    asked = [
        ["--help"],
        ["search", "--help"],
        ["predict", "--help"],
        ["bench", "run", "--help"],
        *(["list", what] for what in lists),
    ]
    for words, (code, told, modules) in zip(asked, commands(asked, tmp_path), strict=True):
        assert (words, code, told, modules & HEAVY) == (words, 0, "", set())


REFUSED = [
    (["search", "--method", "drats"], "unknown method 'drats'; did you mean 'darts'?"),
    (["search", "--space", "drats"], "unknown space 'drats'; did you mean 'darts'?"),
    (["search", "--preset", "papre"], "unknown preset 'papre'; did you mean 'paper'?"),
    (["search", "--preset", "papre", "--space", "mobile"], "unknown preset 'papre'; did you mean 'paper'?"),
    (["search", "--data", "no/such"], "no such file or folder: no/such"),
    (["search", "--data", "nosuch"], "nosuch"),
    (["search", "--nonsense"], "No such option"),
    (["search", "--seed", "one"], "--seed"),
    (["measure-latency", "--space", "drats"], "unknown space"),
    (["serach"], "serach"),
    (["list", "method"], "unknown list 'method'"),
    (["select", "nowhere"], "there is no run at nowhere"),
    (["select", "run", "--rule", "magnitud"], "unknown selection 'magnitud'; did you mean 'magnitude'?"),
    (["select", "net"], "is the run of a 'train', expected a 'search'"),
    (["train", "nowhere"], "cannot read the genotype nowhere"),
    (["train", "net"], "is the run of a 'train', expected a 'search'"),
    (["train", "run", "--data", "no/such"], "no such file or folder: no/such"),
    (["resume", "nowhere"], "there is no run at nowhere"),
    (["evaluate", "nowhere"], "there is no run at nowhere"),
    (["evaluate", "run"], "is the run of a 'search', expected a 'train'"),
    (["predict", "nowhere", "empty"], "there is no run at nowhere"),
    (["predict", "nowhere.onnx", "empty"], "no such file: nowhere.onnx"),
    (["predict", "run", "empty"], "is the run of a 'search', expected a 'train'"),
    (["predict", "net", "gone.png"], "no such file or folder: gone.png"),
    (["predict", "net", "empty"], "folder empty holds no image files"),
    (["predict", "net", "*.gif"], "no file matches *.gif"),
    (["predict", "net", "names.yaml", "--out", "x.tsv"], "unknown ending of --out '.tsv'; did you mean '.csv'?"),
    (["predict", "net", "names.yaml", "--batch-size", "0"], "batch size is 0"),
    (["predict", "net", "names.yaml", "--device", "gpu"], "unknown device 'gpu'"),
    (["export", "net", "--to", "onxx"], "unknown export 'onxx'; did you mean 'onnx'?"),
    (["export", "run", "--to", "onnx"], "is the run of a 'search', expected a 'train'"),
    (["show", "nowhere"], "there is no run at nowhere"),
    (["search", "--config", "names.yaml"], "unknown method 'drats'; did you mean 'darts'?"),
    (["search", "--config", "typo.yaml"], "unknown setting 'serach.epochs'; did you mean 'search.epochs'?"),
    (["search", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
    (["search", "--set", "search.epochs"], "name=value"),
    (["search", "--set", "search.epoch=3"], "unknown setting 'search.epoch'; did you mean 'search.epochs'?"),
    (["search", "--set", "search.epochs=three"], "search.epochs: Input should be a valid integer"),
    (["search", "--set", "search.epochs=0"], "search.epochs: Input should be greater than or equal to 1, got 0"),
    (["search", "--set", "penalty=sum"], "unknown penalty 'sum'"),
    (["search", "--device", "gpu"], "unknown device 'gpu'"),
    (["search", "--precision", "16"], "unknown precision '16'"),
    (["search", "--out", "run"], "already holds a run"),
    (["search", "--data", "digits", "--resume", "--overwrite", "--out", "run"], "does not go with overwriting it"),
    (["resume", "empty"], "there is no run at empty"),
    (["bench", "run", "--protocol", "smok", "--data", "digits", "--out", "b"], "unknown protocol 'smok'"),
    (["bench", "run", "--protocol", "smoke", "--data", "no/such", "--out", "b"], "no such file or folder: no/such"),
    (
        ["bench", "run", "--protocol", "smoke", "--data", "digits", "--out", "b", "--methods", "drats"],
        "unknown method 'drats'",
    ),
    (["bench", "report", "empty"], "there is no bench at empty"),
    (["search", "--track", "mlfow"], "unknown tracker 'mlfow'; did you mean 'mlflow'?"),
    (["train", "run", "--track", "tensorbord"], "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
    (["resume", "run", "--track", "wandbb"], "unknown tracker 'wandbb'; did you mean 'wandb'?"),
    (["diagnose", "nowhere"], "there is no run at nowhere"),
    (["diagnose", "run", "--only", "skipz"], "unknown diagnostic 'skipz'; did you mean 'skips'?"),
]


def test_what_is_named_wrongly_is_refused_without_torch(tmp_path: Path) -> None:
    for name, kind in (("run", "search"), ("net", "train")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"format": "poise.run", "version": 1, "kind": kind}))
        (tmp_path / name / "config.yaml").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "names.yaml").write_text("method: drats")
    (tmp_path / "typo.yaml").write_text("serach: {epochs: 3}")
    found = commands([words for words, _ in REFUSED], tmp_path)
    for (words, refusal), (code, told, modules) in zip(REFUSED, found, strict=True):
        assert (words, code, modules & HEAVY) == (words, 2, set())
        assert refusal in told
        assert told.count("\n") == 1
