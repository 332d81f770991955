"""The recurrent cell, with a mixture on every edge, and with choices made.

From the input ``x`` and the last hidden state ``h`` (``m``: dropout masks, kept over time; ``σ``: sigmoid)

    ``(c₀, z₀) = (m_x ⊙ x, m_h ⊙ h) W₀,   s₀ = h + σ(c₀) ⊙ (tanh z₀ − h)``,

and for every node ``i = 1 … n`` and every state ``j < i`` before it

    ``(c, z) = (m_h ⊙ s_j) W_i,   e_o(s_j) = s_j + σ(c) ⊙ (f_o(z) − s_j),   s_i = Σ_j Σ_o p_jo · e_o(s_j)``.

The next hidden state, which is also the output, is the mean of ``s_1 … s_n``. ``f_o`` is an activation; ``none`` is 0.

Source: Liu et al., DARTS (arXiv:1806.09055), section 2.1 and appendix; highway bypass after Zilly et al.
(arXiv:1607.03474).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from poise.spaces.language import RANGE, Noise, mask, masked
from poise.supernet.draws import Chance

Function = Callable[[Tensor], Tensor]

FUNCTIONS: Mapping[str, Function] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
}


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns).uniform_(-RANGE, RANGE))


class CellWeights(nn.Module):
    """What both forms of the cell share: the matrices, the first state, the loop over time."""

    def __init__(self, units: int, nodes: int, noise: Noise) -> None:
        super().__init__()
        self.units = units
        self.noise = noise
        self.first = _matrix(2 * units, 2 * units)
        self.matrices = nn.ParameterList(_matrix(units, 2 * units) for _ in range(nodes))

    def unroll(
        self, inputs: Tensor, hidden: Tensor, step: Callable[[Tensor, Tensor | None], Tensor], draws: Chance
    ) -> Tensor:
        """``[time, texts, units]``, hidden state before ``[texts, units]`` -> hidden states ``[time, texts, units]``.

        ``step(s₀, m_h)`` makes the next hidden state of the first state.
        """
        over_input = over_hidden = None
        if self.training:
            over_input = mask(draws, inputs, self.noise.input, *inputs.shape[1:])
            over_hidden = mask(draws, inputs, self.noise.hidden, *inputs.shape[1:])
        from_input, from_hidden = torch.split(self.first, self.units)
        ready = masked(inputs, over_input) @ from_input  # at once for all times
        found = []
        for at_time in ready.unbind():
            c, z = torch.addmm(at_time, masked(hidden, over_hidden), from_hidden).chunk(2, dim=1)
            hidden = step(hidden + c.sigmoid() * (z.tanh() - hidden), over_hidden)
            found.append(hidden)
        return torch.stack(found)


class MixedCell(nn.Module):
    """The cell of the supernet. With ``normalise`` the first state and every node are normalised over the texts, as
    published: by one `nn.BatchNorm1d` without parameters, whose running statistics are those of all states."""

    def __init__(self, candidates: Sequence[str], units: int, nodes: int, noise: Noise, normalise: bool = True) -> None:
        super().__init__()
        self.weights = CellWeights(units, nodes, noise)
        self.norm: nn.Module = nn.BatchNorm1d(units, affine=False) if normalise else nn.Identity()
        self.functions = {index: FUNCTIONS[name] for index, name in enumerate(candidates) if name != "none"}

    def forward(self, inputs: Tensor, hidden: Tensor, mixture: Tensor, draws: Chance) -> Tensor:
        """``mixture [rows, candidates]``; shapes are those of `CellWeights.unroll`."""
        columns = mixture.unbind(dim=1)
        shares = torch.stack([columns[index] for index in self.functions], dim=1)[:, :, None, None]
        nodes = [
            (rows.sum(dim=1), rows.unbind(dim=1), matrix)
            for rows, matrix in zip(
                torch.split(shares, list(range(1, len(self.weights.matrices) + 1))), self.weights.matrices, strict=True
            )
        ]

        def step(first: Tensor, over: Tensor | None) -> Tensor:
            states = [self.norm(first)]
            for total, weights, matrix in nodes:
                before = torch.stack(states)
                c, z = (masked(before, over) @ matrix).to(before.dtype).chunk(2, dim=-1)  # also in reduced precision
                # Σ_o p_o (s + σ(c)(f_o(z) − s)) = P s + σ(c)(Σ_o p_o f_o(z) − P s) with P = Σ_o p_o
                mixed = torch.zeros_like(z[:1])
                for weight, function in zip(weights, self.functions.values(), strict=True):
                    mixed = torch.addcmul(mixed, weight, function(z))
                states.append(self.norm(torch.lerp(total * before, mixed, c.sigmoid()).sum(dim=0)))
            return torch.stack(states[1:]).mean(dim=0)

        return self.weights.unroll(inputs, hidden, step, draws)


class DiscreteCell(nn.Module):
    """The cell of a genotype, without normalisation.

    Args:
        nodes: for every node the ``(operation, state)`` that it adds up. One without any is 0.
        units, noise: as in `MixedCell`.
    """

    def __init__(self, nodes: Sequence[Sequence[tuple[str, int]]], units: int, noise: Noise) -> None:
        super().__init__()
        self.nodes = [list(node) for node in nodes]
        self.weights = CellWeights(units, len(nodes), noise)

    def forward(self, inputs: Tensor, hidden: Tensor, draws: Chance) -> Tensor:
        """Shapes are those of `CellWeights.unroll`."""

        def step(first: Tensor, over: Tensor | None) -> Tensor:
            states = [first]
            for edges, matrix in zip(self.nodes, self.weights.matrices, strict=True):
                total = torch.zeros_like(first)
                for name, source in edges:
                    state = states[source]
                    c, z = (masked(state, over) @ matrix).chunk(2, dim=1)
                    total = total + state + c.sigmoid() * (FUNCTIONS[name](z) - state)
                states.append(total)
            return torch.stack(states[1:]).mean(dim=0)

        return self.weights.unroll(inputs, hidden, step, draws)
