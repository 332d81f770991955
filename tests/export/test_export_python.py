"""The Python export stands alone: run in a fresh process in which poise cannot be imported."""

import ast
import json
import subprocess
import sys

import pytest
import torch
from export_networks import BENCH, DARTS, DENSE, FAIR, NASTY, Marks, card, images, network
from safetensors.torch import load_file, save_file

from poise.errors import Refused
from poise.export.exports import EXPORTS
from poise.export.literals import literal, texts
from poise.export.python import source_text

ALONE = """
import importlib.util, json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "poise":
            raise ImportError("poise is out of reach")

sys.meta_path.insert(0, Blocker())
import torch
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
network = exported.load()
assert not network.training
with torch.no_grad():
    save_file({"outputs": network(load_file(sys.argv[2])["images"])}, sys.argv[3])
found = exported.predict(load_file(sys.argv[2])["bytes"])
for one in found:
    one.update({name: value.tolist() for name, value in one.items() if isinstance(value, torch.Tensor)})
assert not [name for name in sys.modules if name.partition(".")[0] == "poise"]
print(json.dumps([exported.LABELS, exported.GENOTYPE, exported.IMAGE, found]))
"""


def exported_alone(model, genotype, folder, **given):
    """Export a network, compare its outputs in a process without poise; what it says of itself, and its predictions."""
    told = card(genotype, **given)
    files = EXPORTS["python"](model, folder / "net", told)
    assert [file.name for file in files] == ["net.py", "net.safetensors"]
    pixels = (images(3) * 255).to(torch.uint8)
    save_file({"images": images(3), "bytes": pixels}, folder / "images")
    command = [sys.executable, "-c", ALONE, files[0], folder / "images", folder / "outputs"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert run.returncode == 0, run.stderr
    with torch.no_grad():
        expected = model(images(3))
        predicted = told.task.predictions(model(pixels / 255), told.seen)
    outputs = load_file(folder / "outputs")["outputs"]
    assert outputs.shape == expected.shape == (3, *told.inputs.shape.answer)
    assert (outputs - expected).abs().max() < 1e-6
    labels, notation, image, found = json.loads(run.stdout)
    assert (tuple(labels["names"]), labels["statistics"]) == (NASTY, {"count": [5.0] * 4})
    assert [one.keys() for one in found] == [one.keys() for one in predicted]
    return notation, image, found, predicted


@pytest.mark.parametrize("genotype", [FAIR, BENCH], ids=["fair", "nasbench201"])
def test_dense_outputs_without_poise(genotype, tmp_path):
    model = network(genotype, shape=DENSE)
    _, _, found, predicted = exported_alone(model, genotype, tmp_path, shape=DENSE, task=Marks(offset=1))
    for one, other in zip(found, predicted, strict=True):
        assert one["mask"] == other["mask"].tolist()
        assert one["shares"] == pytest.approx(other["shares"])
        assert len({value for row in one["mask"] for value in row}) > 1, "a constant mask would prove nothing"


def test_outputs_without_poise(trained, tmp_path):
    model, genotype = trained
    notation, image, found, predicted = exported_alone(model, genotype, tmp_path)
    assert [one["class"] for one in found] == [one["class"] for one in predicted]
    for one, other in zip(found, predicted, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    heads = {
        "nasbench201": "|nor_conv_3x3~0|", "nasbench1shot1-2": "010110001101", "mobile": '{"format": "poise.genotype"',
    }  # fmt: skip
    assert notation.startswith(heads.get(genotype.space, "Genotype(normal=[('sep_conv_3x3'"))
    assert image == [3, 16, 16]


def test_it_runs_as_a_script(tmp_path):
    model = network(BENCH)
    file, _ = EXPORTS["python"](model, tmp_path / "net.py", card(BENCH))
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True)
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters, classification of 4" in run.stdout


def test_the_source_imports_torch_safetensors_and_the_standard_library(trained):
    text = source_text(trained[0], card(trained[1]))
    compile(text, "net.py", "exec")
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
    assert imported - set(sys.stdlib_module_names) == {"torch", "safetensors"}
    head, tail = text.split("# From ")[0], text.split("# The network")[1]
    assert max(map(len, (head + tail).split("\n"))) <= 120


def test_only_operations_in_use_come_along():
    text = source_text(network(BENCH), card(BENCH))
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    assert {"Conv", "Skip", "NasBench201Network", "Normalise"} <= names
    assert not names & {"SepConv", "Noise", "Zero", "CellNetwork"}
    assert '"nor_conv_3x3": partial(Conv, kernel=3),' in text
    assert "auxiliary=False" in source_text(network(DARTS), card(DARTS))


def test_a_class_of_ones_own_around_it_is_refused():
    class Mine(type(network(BENCH)[1])):
        pass

    mine = Mine({"0->1": ["skip_connect"]}, 3, 4, 4, 1)
    with pytest.raises(Refused, match="Mine"):
        source_text(mine, card(BENCH))


def test_a_task_is_carried_along_only_with_what_the_file_holds():
    class Mean(Marks):
        def predictions(self, outputs, seen):
            return [{"value": self.mean(row)} for row in outputs]

    class Annotated(Marks):
        def predictions(
            self,
            outputs: "torch.Tensor",  # of a file that would not know this name
            seen: object,
        ) -> list[dict[str, object]]:
            """Said."""
            return [{"value": self.offset}] * len(outputs)

    model = network(BENCH)
    with pytest.raises(Refused, match=r"cannot carry the source of Mean\.predictions along: it uses self\.mean"):
        source_text(model, card(BENCH, task=Mean()))
    text = source_text(model, card(BENCH, task=Annotated()))
    assert 'def predictions(self, outputs, seen):\n    """Said."""\n    return [{"value": self.offset}]' in text


@pytest.mark.parametrize(
    "value",
    [
        NASTY,
        ('"""', "'''", "\\", "\ud800", "\u202e", "a\rb\x00", ""),
        {"a": [1, -2.5, None, True], "b" * 90: ("x",) * 30},
        ("word " * 60,),
        "one  two " * 40,
        "''\"\\ " * 60,
    ],
)
def test_literals_are_read_back_as_they_were(value):
    assert ast.literal_eval(literal(value, 4, 10)) == value


def test_what_is_no_plain_value_is_no_literal():
    class Text(str):
        def __repr__(self):
            return "print('run')"

    for value in (float("nan"), torch.zeros(1), {1, 2}, [Text("a")], {Text("a"): 1}):
        with pytest.raises(Refused, match="plain Python value"):
            literal(value)


def test_texts_finds_every_text():
    assert texts({"a": ["b", ("c", 1)], "d": {"e": None}}) == {"a", "b", "c", "d", "e"}
