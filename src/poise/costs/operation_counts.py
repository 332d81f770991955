"""Operations that torch computes in one piece on a CPU, and that its counter of operations does not know.

Each formula takes the shapes of the operation's arguments and returns twice its multiply-adds, as those of
`torch.utils.flop_counter` do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Shape = torch.Size


def attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Of ``[batch, heads, length, width]``: the scores, and what they weigh."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (width + value[-1])


def recurrent_layer(x: Shape, inputs: Shape, hidden: Shape, *_: Any, **__: Any) -> int:
    """An LSTM's layer in one direction: both matrices at every step of ``[steps, batch, width]``."""
    return 2 * x[0] * x[1] * (inputs.numel() + hidden.numel())


def matrix_vector(matrix: Shape, *_: Any, **__: Any) -> int:
    """``[rows, columns] · [columns]``."""
    return 2 * matrix.numel()


def sum_of_products(_: Shape, first: Shape, second: Shape, *__: Any, **___: Any) -> int:
    """``Σ_b [b, n, m] · [b, m, p]``."""
    return 2 * first.numel() * second[-1]


_aten = torch.ops.aten

FORMULAS: dict[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: attention,
    _aten.mkldnn_rnn_layer: recurrent_layer,
    _aten.mv: matrix_vector,
    _aten.addbmm: sum_of_products,
}
"""For `torch.utils.flop_counter.FlopCounterMode(custom_mapping=...)`."""
