"""The recurrent cell against a plain loop, its dropouts and regularisers by hand, and its genotypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import Genotype, Refused
from poise.spaces import Noise, Recurrent, TextShape
from poise.spaces.language import Words, mask
from poise.spaces.recurrent_cell import MixedCell
from poise.spaces.space import genotype_of
from poise.supernet.draws import Draws, Global
from poise.supernet.groups import ChoiceGroup, Kept, expand, one_hot
from poise.supernet.inputs import SEARCH, TRAINING, TextBatch
from poise.supernet.narrowing import without
from textbook.recurrent import unroll

UNITS, NODES, TEXTS, TIME, WORDS = 5, 3, 4, 6, 11
SILENT = Noise(0, 0, 0, 0, 0, 0, 0)
TASK = TextShape(WORDS, TEXTS)
CPU = torch.device("cpu")
PUBLISHED = (
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), "
    "('relu', 5), ('relu', 1)], concat=range(1, 9))"
)


def space(noise: Noise = SILENT, **given: Any) -> Recurrent:
    return Recurrent(**{"units": UNITS, "nodes": NODES, "noise": noise} | given)


def grown(module: nn.Module, seed: int = 0, size: float = 0.6) -> nn.Module:
    """The module in float64, with weights large enough that nothing is nearly linear."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.double().parameters():
        weight.data = size * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return module


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(time: int = TIME, texts: int = TEXTS, seed: int = 2) -> Tensor:
    return torch.randint(0, WORDS, (time, texts), generator=torch.Generator().manual_seed(seed))


def mixture_of(groups: Sequence[ChoiceGroup]) -> dict[str, Tensor]:
    (group,) = groups
    values = torch.rand(group.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return expand({group.name: values}, groups)


def by_edge(
    found: Recurrent, mixture: Tensor, groups: Sequence[ChoiceGroup] = ()
) -> dict[tuple[int, int, str], Tensor]:
    (group,) = groups or found.groups
    return {
        (*edge, name): mixture[0, row, column]
        for row, edge in enumerate(found.edges)
        for column, name in enumerate(group.rows[row].candidates)
    }


@pytest.mark.parametrize("noise", [SILENT, Noise(hidden=0.25, input=0.5)], ids=["silent", "dropout"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("excluded", [(), ("none", "relu")])
def test_mixed_cell_is_the_textbook_s_in_value_and_gradient(
    noise: Noise, normalise: bool, excluded: tuple[str, ...]
) -> None:
    chosen = space(noise)
    groups = without(chosen.groups, excluded)
    cell: Any = grown(MixedCell(groups[0].rows[0].candidates, UNITS, NODES, noise, normalise))
    mixture = mixture_of(groups)["recurrent"].clone().requires_grad_()
    inputs, hidden = random(TIME, TEXTS, UNITS).requires_grad_(), random(TEXTS, UNITS, seed=4).requires_grad_()
    states = cell(inputs, hidden, mixture[0], Draws(11, CPU))
    masks = None
    if noise.hidden:
        draws = Draws(11, CPU)
        masks = tuple(mask(draws, inputs, drop, TEXTS, UNITS) for drop in (noise.input, noise.hidden))
        assert set(masks[0].unique().tolist()) == {0.0, 2.0}
    first, *matrices = cell.weights.first, *cell.weights.matrices
    plain = unroll(inputs, hidden, first, matrices, by_edge(chosen, mixture, groups), masks, normalise)
    torch.testing.assert_close(states, plain, rtol=1e-10, atol=1e-12)
    upstream, moved = random(TIME, TEXTS, UNITS, seed=5), [mixture, inputs, hidden, first, *matrices]
    for fast, slow in zip(
        torch.autograd.grad((states * upstream).sum(), moved),
        torch.autograd.grad((plain * upstream).sum(), moved),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_one_hot_mixture_is_the_discrete_network(seed: int) -> None:
    """Without the supernet's normalisation, which discrete networks do not have."""
    chosen = space(Noise())
    (group,) = chosen.groups
    draw = torch.Generator().manual_seed(seed)
    kept_rows: Kept = {"recurrent": tuple((int(torch.randint(0, 5, (), generator=draw)),) for _ in group.rows)}
    if seed == 0:  # one activation per node, as DARTS keeps
        kept_rows = {"recurrent": ((1,), (), (2,), (3,), (), ())}
    genotype = genotype_of("recurrent", kept_rows, chosen.groups)
    network: Any = chosen.network(genotype, TASK, channels=UNITS)
    supernet: Any = chosen.supernet(TASK)
    supernet.cell.norm = nn.Identity()
    grown(network)
    grown(supernet)
    assert [w.shape for w in network.parameters()] == [w.shape for w in supernet.parameters()]
    batch, before = TextBatch(tokens(), TRAINING, fresh=False), random(TEXTS, UNITS, seed=6)
    supernet.carry(batch, before)
    mixture = one_hot(kept_rows, chosen.groups, torch.zeros((), dtype=torch.float64))
    for training in (True, False):
        network.train(training)
        supernet.train(training)
        answer = supernet(batch, mixture, Draws(11, CPU))
        reading = network(batch.tokens, before, Draws(11, CPU))
        torch.testing.assert_close(answer.outputs, reading.logits, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(answer.state, reading.hidden, rtol=1e-10, atol=1e-12)
        assert (answer.extra is not None) == (reading.extra is not None) == training
        if training:
            torch.testing.assert_close(answer.extra, reading.extra, rtol=1e-10, atol=1e-14)


def test_pieces_with_the_state_carried_are_one_long_pass() -> None:
    chosen = space()
    supernet: Any = grown(chosen.supernet(TASK)).train()
    mixture, text = mixture_of(chosen.groups), tokens(9)
    whole = supernet(TextBatch(text), mixture).outputs
    parts = []
    for begin, end in ((0, 2), (2, 7), (7, 9)):
        batch = TextBatch(text[begin:end], fresh=begin == 0)
        answer = supernet(batch, mixture)
        assert answer.state.grad_fn is None, "the state is carried without gradient"
        supernet.carry(batch, answer.state)
        parts.append(answer.outputs)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-10, atol=1e-12)
    # Within a piece the gradient is that of a pass that starts from the carried state as from a constant.
    batch = TextBatch(text[2:7], fresh=False)
    begin = supernet(TextBatch(text[:2]), mixture).state
    supernet.carry(batch, begin)
    weights = [supernet.words.weight, supernet.cell.weights.first]
    found = torch.autograd.grad(supernet(batch, mixture).outputs.square().sum(), weights)
    states = supernet.cell(supernet.words.embed(text[2:7], Global(CPU)), begin, mixture["recurrent"][0], Global(CPU))
    logits = states.flatten(0, 1) @ supernet.words.weight.T + supernet.words.bias
    for one, other in zip(found, torch.autograd.grad(logits.square().sum(), weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_discrete_network_reads_on_from_a_hidden_state() -> None:
    chosen = space()
    genotype = genotype_of("recurrent", {"recurrent": ((1,), (), (2,), (3,), (), ())}, chosen.groups)
    network: Any = grown(chosen.network(genotype, TASK, channels=UNITS)).eval()
    text = tokens(9)
    whole, last, _ = network(text)
    first, between, _ = network(text[:4])
    second, end, _ = network(text[4:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(network(text[4:])[0], second), "the state matters"


def test_streams_do_not_mix_and_a_forward_pass_changes_no_state() -> None:
    chosen = space()
    supernet: Any = grown(chosen.supernet(TASK)).train()
    mixture, text = mixture_of(chosen.groups), tokens()
    before = supernet.hidden.clone()
    answer = supernet(TextBatch(text, SEARCH, fresh=False), mixture)
    assert torch.equal(supernet.hidden, before)
    supernet.carry(TextBatch(text, SEARCH), answer.state)
    assert torch.equal(supernet.hidden[TRAINING], before[TRAINING])
    assert torch.equal(supernet.hidden[SEARCH], answer.state)
    again = supernet(TextBatch(text, SEARCH, fresh=False), mixture).outputs
    assert not torch.allclose(again, answer.outputs)
    fresh = supernet(TextBatch(text, SEARCH, fresh=True), mixture).outputs
    torch.testing.assert_close(fresh, answer.outputs, rtol=0, atol=0)
    assert "hidden" in supernet.state_dict(), "a checkpoint holds it"


def test_regularisers_by_hand_and_for_the_training_text_alone() -> None:
    noise = Noise(0, 0, 0, 0, output=0.5, activation=0.3, slowness=0.7)
    words: Any = grown(Words(WORDS, UNITS, noise)).train()
    hidden = random(TIME, TEXTS, UNITS)
    logits, extra = words.decode(hidden, Draws(5, CPU))
    dropped = hidden * mask(Draws(5, CPU), hidden, 0.5, 1, TEXTS, UNITS)
    slow = sum(((hidden[t] - hidden[t - 1]) ** 2).sum() for t in range(1, TIME)) / (hidden.numel() - TEXTS * UNITS)
    torch.testing.assert_close(extra, 0.3 * (dropped**2).sum() / hidden.numel() + 0.7 * slow)
    torch.testing.assert_close(logits, dropped.reshape(-1, UNITS) @ words.weight.T + words.bias)
    assert words.decode(hidden[:1], Global(CPU))[1].isfinite(), "a single time has no change"
    assert words.eval().decode(hidden, Global(CPU))[1] is None
    supernet: Any = grown(space(noise).supernet(TASK)).train()
    mixture = mixture_of(space(noise).groups)
    assert supernet(TextBatch(tokens(), TRAINING), mixture).extra is not None
    assert supernet(TextBatch(tokens(), SEARCH), mixture).extra is None


def test_dropouts_are_locked_over_time_and_drop_whole_words() -> None:
    noise = Noise(word=0.5, embedding=0.5, input=0, hidden=0, output=0)
    words: Any = Words(WORDS, 40, noise).double().train()
    nn.init.ones_(words.weight)
    found = words.embed(tokens(8), Draws(11, CPU))
    assert set(found.unique().tolist()) <= {0.0, 4.0}
    for text in range(TEXTS):  # a feature that is dropped is dropped at all times
        alive = found[:, text][found[:, text].any(dim=1)]
        assert len(alive)
        assert (alive == alive[0]).all()
        assert 0 < (alive[0] == 0).float().mean() < 1
    seen = {}
    for word, values in zip(tokens(8).flatten().tolist(), found.flatten(0, 1), strict=True):
        seen.setdefault(word, set()).add(bool(values.any()))
    assert all(len(values) == 1 for values in seen.values()), "a word is dropped wherever it stands"
    assert {True, False} == {value for values in seen.values() for value in values}
    assert (words.eval().embed(tokens(), Global(CPU)) == 1).all()


def test_normalisation_has_running_statistics_for_evaluation() -> None:
    supernet: Any = grown(space().supernet(TASK)).train()
    norm = supernet.cell.norm
    assert (norm.running_var == 1).all()
    supernet(TextBatch(tokens()), mixture_of(space().groups))
    assert (norm.running_var != 1).any()
    one = supernet.eval()(TextBatch(tokens()[:, :1]), mixture_of(space().groups)).outputs
    torch.testing.assert_close(one, supernet(TextBatch(tokens()), mixture_of(space().groups)).outputs[::TEXTS])


def test_published_notation() -> None:
    genotype = Genotype.parse(PUBLISHED)
    chosen = Recurrent()
    chosen.check(genotype)
    assert genotype.space == "recurrent"
    assert genotype.choices["recurrent"]["1->6"] == ("identity",)
    assert chosen.describe(genotype) == PUBLISHED
    with torch.device("meta"):
        network = chosen.network(genotype, TextShape(10_000, 1))
    # Published: 23M. Embedding and bias, W0, one matrix per node.
    assert sum(w.numel() for w in network.parameters()) == 10_000 * 851 + 1700 * 1700 + 8 * 850 * 1700 == 22_960_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(recurrent=[('relu', 0)])", "the fields recurrent, concat"),
        ("Genotype(recurrent=[('relu', 0), ('tanh', 2)], concat=range(1, 3))", "node 2 can take inputs 0 to 1"),
        ("Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=[2])", "all of its nodes"),
        ("Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 2))", "leads to another"),
        ("Genotype(recurrent=[('relu', 0)], concat=range(1, 2), normal=[])", "the fields recurrent, concat"),
    ],
)
def test_wrong_notation_is_refused(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Genotype.parse(text)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(Refused, match="nodes must be at most 50"):
        Recurrent(nodes=51)
    with pytest.raises(Refused, match=r"noise\.hidden is a share to drop, below 1, got 1"):
        Noise(hidden=1)
    with pytest.raises(Refused, match=r"noise\.slowness must be a number of at least 0, got -1"):
        Noise(slowness=-1)
    with pytest.raises(Refused, match=r"use search\.batch_size 2 or more"):
        Recurrent().supernet(TextShape(10, 1))
    with pytest.raises(Refused, match=r"one cell; leave train\.cells out, got 2"):
        Recurrent().network(Genotype.parse(PUBLISHED), TASK, cells=2)
