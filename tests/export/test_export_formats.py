"""Every format gives the network's own outputs, and says what it is."""

import json

import onnx
import onnxruntime
import pytest
import torch
from export_networks import BENCH, DARTS, DENSE, FAIR, NASTY, card, images, network
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from poise.errors import Refused
from poise.export.exports import EXPORTS
from poise.export.normalise import Normalise
from poise.genotype import Genotype


def test_formats_are_discovered():
    assert set(EXPORTS) >= {"onnx", "python", "safetensors"}
    with pytest.raises(Refused, match="did you mean 'onnx'"):
        EXPORTS["onx"]


def test_normalise_is_by_channel():
    x = torch.tensor([0.5, 1.0]).view(1, 2, 1, 1)
    assert Normalise([0.25, 0.5], [0.5, 0.25])(x).flatten().tolist() == [0.5, 2.0]
    with pytest.raises(ValueError, match="positive"):
        Normalise([0.5], [0.0])


def test_onnx_runs_at_any_batch_size(trained, tmp_path):
    model, genotype = trained
    files = EXPORTS["onnx"](model, tmp_path / "new" / "net", card(genotype))
    assert files == [tmp_path / "new" / "net.onnx"]
    assert list(files[0].parent.iterdir()) == files, "one file, no data beside it"
    session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        logits = session.run(["outputs"], {"images": images(batch).numpy()})[0]
        with torch.no_grad():
            expected = model(images(batch))
        assert expected.std() > 1e-3, "a constant network would prove nothing"
        assert (torch.from_numpy(logits) - expected).abs().max() < 1e-4
    props = {prop.key: prop.value for prop in onnx.load(files[0]).metadata_props}
    assert Genotype.from_json(props["genotype"]) == genotype
    assert tuple(json.loads(props["labels"])["names"]) == NASTY
    content = files[0].read_bytes()
    assert b"stack_trace" not in content
    assert __file__.rpartition("/tests/")[0].encode() not in content, "no paths of this machine"


@pytest.mark.parametrize("genotype", [FAIR, BENCH], ids=["fair", "nasbench201"])
def test_onnx_of_a_dense_network(genotype, tmp_path):
    model = network(genotype, shape=DENSE)
    (file,) = EXPORTS["onnx"](model, tmp_path / "net", card(genotype, shape=DENSE))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        logits = torch.from_numpy(session.run(["outputs"], {"images": images(batch).numpy()})[0])
        with torch.no_grad():
            expected = model(images(batch))
        assert expected.std(dim=(2, 3)).min() > 1e-3, "the same everywhere would prove nothing"
        assert logits.shape == (batch, 4, 16, 16)
        assert (logits - expected).abs().max() < 1e-4
    assert onnx.load(file).doc_string.endswith("Gives outputs [batch, 4, 16, 16], classification.")


def test_onnx_is_quiet(tmp_path, capfd, recwarn):
    EXPORTS["onnx"](network(DARTS), tmp_path / "net", card(DARTS))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_safetensors_hold_the_state_and_what_it_is(trained, tmp_path):
    model, genotype = trained
    (file,) = EXPORTS["safetensors"](model, tmp_path / "net", card(genotype))
    weights, expected = load_file(file), model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert Genotype.from_json(metadata["genotype"]) == genotype
    assert json.loads(metadata["labels"]) == {"names": list(NASTY), "statistics": {"count": [5.0] * 4}}
    assert json.loads(metadata["task"])["name"] == "classification"
    said = json.loads(metadata["input"])
    assert (said["channels"], said["size"], said["streamed"]) == (3, [16, 16], False)


@pytest.mark.parametrize("format", ["onnx", "safetensors", "python"])
def test_the_auxiliary_head_stays_behind_and_the_network_is_untouched(format, tmp_path):
    model = network(DARTS, auxiliary=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any("auxiliary" in name for name in before)
    files = EXPORTS[format](model, tmp_path / "net", card(DARTS))
    if format == "onnx":
        names = [initializer.name for initializer in onnx.load(files[0]).graph.initializer]
    else:
        names = list(load_file(files[-1]))
    assert names
    assert not [name for name in names if "auxiliary" in name]
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_outputs_of_another_form_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"outputs \(2, 4\), got \(2, 768\)"):
        EXPORTS["onnx"](nn.Flatten(), tmp_path / "net", card(DARTS))
    with pytest.raises(Refused, match=r"outputs \(2, 4, 16, 16\), got \(2, 4\)"):
        EXPORTS["onnx"](network(DARTS), tmp_path / "net", card(DARTS, shape=DENSE))
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(Refused, match="a folder has that name"):
        EXPORTS["onnx"](network(DARTS), tmp_path / "net", card(DARTS))


def test_a_module_of_ones_own_goes_out_as_onnx_and_weights(tmp_path):
    own = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    genotype = Genotype("custom", {"layer": {"choice": ("linear",)}})
    for format in ("onnx", "safetensors"):
        assert EXPORTS[format](own, tmp_path / "own", card(genotype))[0].exists()
    with pytest.raises(Refused, match="you have the source"):
        EXPORTS["python"](own, tmp_path / "own", card(genotype))
    assert not (tmp_path / "own.py").exists()


class Counts(nn.Module):
    """Makes a plain number of its batch's size."""

    def forward(self, x):
        return x.reshape(len(x), -1)[:, :4]


def test_onnx_of_a_fixed_batch_size_is_refused(tmp_path):
    genotype = Genotype("custom", {"layer": {"choice": ("linear",)}})
    with pytest.raises(Refused, match="fixed number of inputs"):
        EXPORTS["onnx"](Counts(), tmp_path / "own", card(genotype))
    assert not (tmp_path / "own.onnx").exists()
