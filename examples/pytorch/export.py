"""Exports a PyTorch model with a dynamic batch, and samples for calibration.

    python examples/pytorch/export.py OUT        # OUT/model.onnx, OUT/calib/*.npy, OUT/input.npy

Any `torch.nn.Module` goes here; with torchvision, `torchvision.models.resnet50(weights="DEFAULT")` is one line. The network below needs
nothing but torch, so that the example runs anywhere.
"""

import pathlib
import sys

import numpy
import torch
from torch import nn


class Block(nn.Module):
    """A residual block: two convolutions with batch normalization, and a shortcut."""

    def __init__(self, width, stride):
        super().__init__()
        self.first = nn.Conv2d(width // stride, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(width // stride, width, 1, stride, bias=False)

    def forward(self, x):
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(y)) + self.shortcut(x))


def network():
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [Block(32, 1), Block(64, 2), Block(128, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*stem, *blocks, *head).eval()


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "calib").mkdir(parents=True, exist_ok=True)
    example = torch.randn(1, 3, 64, 64)
    torch.onnx.export(
        network(),
        (example,),
        str(out / "model.onnx"),
        input_names=["image"],
        output_names=["scores"],
        opset_version=17,
        dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
        dynamo=False,
    )
    for at in range(64):
        numpy.save(out / "calib" / f"{at:03}.npy", torch.randn(1, 3, 64, 64).numpy())
    numpy.save(out / "input.npy", example.numpy())


if __name__ == "__main__":
    main()
