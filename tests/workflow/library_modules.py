"""Modules in the style of the big model libraries: in-place activations, `view`, several inputs and keyword arguments,
layers inside that return tuples. For images of 1×8×8, ten classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import poise


def conv_norm(channels_in: int, channels_out: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class Basic(nn.Module):
    """A residual block, as in torchvision: one in-place ReLU for all places, an in-place sum at the end."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.first, self.second = conv_norm(channels, channels, kernel), conv_norm(channels, channels, kernel)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.first(x)))
        out += x
        return self.relu(out)


class PreActivated(nn.Module):
    """Begins with an in-place ReLU of what it is given, which its own residual sum counts on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = conv_norm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(x, inplace=True)) + x


class Residual(nn.Module):
    """Blocks and activations to choose from, around tensors that are used again."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = conv_norm(1, 8)
        self.act = poise.Choice({"relu": nn.ReLU(inplace=True), "hardswish": nn.Hardswish(inplace=True)})
        self.block = poise.Choice(
            {"basic3": Basic(8, 3), "basic5": Basic(8, 5), "before": PreActivated(8), "skip": nn.Identity()}
        )
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8 * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        x = self.act(stem)
        out = self.block(x)
        out += stem
        out = F.max_pool2d(self.relu(out) + x, 2)
        return self.fc(out.view(out.size(0), -1))


class Attention(nn.Module):
    """Looks from some tokens at others; the attention inside returns a tuple."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor, context: Tensor, *, scale: float = 1.0) -> Tensor:
        found, _ = self.inner(x, context, context, need_weights=False)
        return scale * found


class Reader(nn.Module):
    """Reads the tokens in turn; the network inside returns a tuple in a tuple."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor, context: Tensor, *, scale: float = 1.0) -> Tensor:
        found, (last, _) = self.inner(x)
        return (scale * found).add_(last[0][:, None]) + context.mean(dim=1, keepdim=True)


class Transformer(nn.Module):
    """Rows of pixels as tokens, mixed by a choice that takes two inputs and a keyword."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(8, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.mix = poise.Choice({"two": Attention(16, 2), "four": Attention(16, 4), "read": Reader(16)})
        self.norm = poise.Choice({"layer": nn.LayerNorm(16), "none_": nn.Identity()})
        self.drop = nn.Dropout(0.1, inplace=True)
        self.heads = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images.view(-1, 8, 8))
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        x = tokens + self.mix(self.norm(tokens), context=tokens, scale=0.5)
        return self.heads(self.drop(x)[:, 0])


class SqueezeExcite(nn.Module):
    """Weighs channels by an in-place gate."""

    def __init__(self, channels: int, gate: type[nn.Module]) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = nn.ReLU(inplace=True), gate(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))))


class Windows(nn.Module):
    """Mixes the pixels of each window of 4×4, by views."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        windows = x.view(n, c, h // 4, 4, w // 4, 4).transpose(3, 4).contiguous().view(n, c, -1, 16)
        mixed = self.mix(windows).view(n, c, h // 4, w // 4, 4, 4).transpose(3, 4)
        return mixed.contiguous().view(n, c, h, w)


class Shuffles(nn.Module):
    """Halves of the channels, one through a choice, then shuffled by a view; and a choice of gates in two places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = conv_norm(1, 16)
        self.branch = poise.Choice(
            {
                "depthwise": nn.Sequential(nn.ReLU6(inplace=True), conv_norm(8, 8, groups=8)),
                "windows": Windows(),
            }
        )
        self.first, self.second = self.gates(), self.gates()
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(16, 10))

    @staticmethod
    def gates() -> poise.Choice:
        kinds = {"hard": SqueezeExcite(16, nn.Hardsigmoid), "relu6": SqueezeExcite(16, nn.ReLU6)}
        return poise.Choice({**kinds, "leave": nn.Identity()}, group="gate")

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(self.stem(images))
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, self.branch(right.contiguous())], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        x = self.second(x) + x
        return self.classifier(x.mean((2, 3)).view(n, -1))
