"""The discrete network of the mobile space. Knows torch only: exports carry this code.

A 3×3 stem, a first bottleneck without expansion, 19 layers in six stages, a 1×1 head, pooling, linear. At 224 pixels
the stem and the stages 1, 2, 3 and 5 halve the size, as published. Smaller images are halved less often, the earliest
places first, so that at least 4 pixels are left: at 64 to 127 pixels the stem keeps its size, at 32 to 63 the first
stage too.

Source: Cai et al., ProxylessNAS (arXiv:1812.00332), section 4.2, on Sandler et al., MobileNetV2 (arXiv:1801.04381).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

STAGES = ((32, 2), (40, 4), (80, 4), (96, 4), (192, 4), (320, 1))
"""Channels, at 32 of the stem, and layers of each stage."""

HALVING = (True, True, True, True, False, True, False)
"""Where the published network halves the size: the stem, then the first layer of each stage."""


def widths(channels: int) -> tuple[int, int, list[int], int]:
    """Channels of stem, first bottleneck, the 19 layers, and head; published: 32, 16, 32 to 320, 1280."""

    def scaled(published: int) -> int:
        return max(1, (published * channels + 16) // 32)

    layers = [scaled(width) for width, count in STAGES for _ in range(count)]
    return channels, scaled(16), layers, scaled(1280)


def strides(size: int) -> list[int]:
    """Strides of the stem and the 19 layers for images whose shorter side has ``size`` pixels."""
    wanted = 0
    while size // 2 ** (wanted + 1) >= 4 and wanted < sum(HALVING):
        wanted += 1
    skipped = sum(HALVING) - wanted
    found = []
    for halves, count in zip(HALVING, (1, *(count for _, count in STAGES)), strict=True):
        taken = halves and skipped == 0
        skipped -= halves and skipped > 0
        found += [2 if taken else 1, *[1] * (count - 1)]
    return found


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, and ReLU6 unless it is the last of a block."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, affine: bool, last: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)
        self.activation = nn.Identity() if last else nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class InvertedBottleneck(nn.Module):
    """``mb_conv``: 1×1 convolution to ``expansion`` times the channels, depthwise convolution, 1×1 convolution.

    Where the shape is kept the input is added (``residual``).
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, search: bool, kernel: int, expansion: int
    ) -> None:
        super().__init__()
        inner = expansion * channels_in
        affine = not search
        self.residual = stride == 1 and channels_in == channels_out
        self.expand = ConvNorm(channels_in, inner, 1, 1, 1, affine, False) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, inner, affine, False)
        self.project = ConvNorm(inner, channels_out, 1, 1, 1, affine, True)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``kept [batch, 1, 1, 1]`` multiplies what is added to the input."""
        y = self.project(self.depthwise(self.expand(x)))
        if not self.residual:
            return y
        return x + (y if kept is None else y * kept)


class Bypass(nn.Module):
    """``skip_connect``: the layer is left out."""

    residual = False

    def __init__(self, channels_in: int, channels_out: int, stride: int, search: bool) -> None:
        super().__init__()

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        return x


MOBILE_OPERATIONS: dict[str, Callable[[int, int, int, bool], nn.Module]] = {
    "mb_conv_3x3_e3": partial(InvertedBottleneck, kernel=3, expansion=3),
    "mb_conv_5x5_e3": partial(InvertedBottleneck, kernel=5, expansion=3),
    "mb_conv_7x7_e3": partial(InvertedBottleneck, kernel=7, expansion=3),
    "mb_conv_3x3_e6": partial(InvertedBottleneck, kernel=3, expansion=6),
    "mb_conv_5x5_e6": partial(InvertedBottleneck, kernel=5, expansion=6),
    "mb_conv_7x7_e6": partial(InvertedBottleneck, kernel=7, expansion=6),
    "skip_connect": Bypass,
}
"""The operations of the mobile space, built from input channels, output channels, stride, and whether it is a
supernet's form."""


class MobileNetwork(nn.Module):
    """The network of one list of operations per layer (their outputs are added; a genotype keeps one).

    Args:
        operations: for each of the 19 layers.
        image_channels, classes: of the data.
        channels: of the stem; all widths go with it. Published: 32.
        size: the shorter side of the images, which decides the strides.
        search: the supernet's form of every operation (for weights taken from a supernet), not the one to retrain.

    ``paths`` is the number of bottlenecks of the layers that drop-path may drop: those that add their input.
    """

    draws_nothing = True

    def __init__(
        self,
        operations: list[list[str]],
        image_channels: int,
        classes: int,
        channels: int,
        size: int,
        search: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "operations": operations,
            "image_channels": image_channels,
            "classes": classes,
            "channels": channels,
            "size": size,
            "search": search,
        }
        stem, first, layers, head = widths(channels)
        steps = strides(size)
        self.halving = tuple(index for index, stride in enumerate(steps[1:]) if stride > 1)
        self.stem = ConvNorm(image_channels, stem, 3, steps[0], 1, True, False)
        self.first = InvertedBottleneck(stem, first, 1, False, 3, 1)
        self.layers = nn.ModuleList()
        width = first
        for names, out, stride in zip(operations, layers, steps[1:], strict=True):
            built = {name: MOBILE_OPERATIONS[name](width, out, stride, search) for name in names}
            self.layers.append(nn.ModuleDict(built))
            width = out
        self.paths = sum(bool(operation.residual) for layer in self.layers for operation in layer.children())
        self.head = ConvNorm(width, head, 1, 1, 1, True, False)
        self.classifier = nn.Linear(head, classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The last feature maps of each resolution, the finest first: what the classifier goes by is the last."""
        x = self.first(self.stem(images))
        maps = []
        for index, layer in enumerate(self.layers):
            if index in self.halving:
                maps.append(x)
            terms = [operation(x) for operation in layer.children()]
            x = sum(terms[1:], terms[0])
        return [*maps, self.head(x)]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.maps(images)[-1].mean(dim=(2, 3)))

    def heads(self, images: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits, and None: no auxiliary head. ``kept [paths, batch, 1, 1, 1]`` is what each path of each image is
        multiplied by: 0 where it is dropped, with probability p, else 1/(1 − p). None: nothing is dropped."""
        x = self.first(self.stem(images))
        scales = [] if kept is None else list(kept.to(x.dtype))
        for layer in self.layers:
            terms = [
                operation(x, scales.pop(0) if scales and operation.residual else None) for operation in layer.children()
            ]
            x = sum(terms[1:], terms[0])
        return self.classifier(self.head(x).mean(dim=(2, 3))), None
