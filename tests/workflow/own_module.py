"""A module of one's own, as another program would import it."""

import torch
from torch import Tensor, nn

import poise


class Net(nn.Module):
    """Digits to ten classes; the kernel size is to be found, and one activation for two places."""

    def __init__(self, width: int = 6, kernels: tuple[int, ...] = (1, 3), seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = poise.Choice({f"k{k}": nn.Conv2d(1, width, k, padding=k // 2) for k in kernels})
        self.norm = nn.BatchNorm2d(width)
        self.act_first, self.act_second = self.activation(), self.activation()
        self.head = nn.Linear(width, 10)

    @staticmethod
    def activation() -> poise.Choice:
        return poise.Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, group="activation")

    def forward(self, images: Tensor) -> Tensor:
        x = self.act_second(self.act_first(self.norm(self.first(images))))
        return self.head(x.mean(dim=(2, 3)))
