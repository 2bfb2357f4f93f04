"""Trains the classifier of gratings that tests/precision.rs quantizes, and writes it in ONNX's textual syntax.

    python tests/python/train_gratings.py tests/models/gratings.onnxtxt

A sample is a grating of 16 by 16 pixels in one of eight directions, of random phase, frequency and contrast, under noise; the test
draws its own from the same distribution, so that everything it judges is held out.
"""

import math
import sys

import torch

CLASSES, SIZE, NOISE = 8, 16, 1.6


def samples(count, generator):
    def uniform(low, high):
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    labels = torch.randint(CLASSES, (count,), generator=generator)
    angle = labels.view(-1, 1, 1) * (math.pi / CLASSES)
    frequency, phase, contrast = uniform(0.7, 1.1), uniform(0, 2 * math.pi), uniform(0.6, 1.0)
    rows = torch.arange(SIZE, dtype=torch.float32).view(1, -1, 1)
    columns = torch.arange(SIZE, dtype=torch.float32).view(1, 1, -1)
    wave = torch.sin(frequency * (columns * torch.cos(angle) + rows * torch.sin(angle)) + phase)
    noise = torch.randn(count, SIZE, SIZE, generator=generator)
    return (contrast * wave + NOISE * noise).unsqueeze(1), labels


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(12, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 24, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(24, CLASSES),
    )  # fmt: skip


def text(tensor):
    shape = ",".join(str(size) for size in tensor.shape)
    values = ", ".join(f"{value:.6g}" for value in tensor.detach().flatten().tolist())
    return shape, values


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    model = network()
    steps = 1500
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        x, labels = samples(96, generator)
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    x, labels = samples(4000, generator)
    accuracy = (model(x).argmax(1) == labels).float().mean().item()
    print(f"held-out accuracy {accuracy:.4f}", file=sys.stderr)
    names = ["w1", "b1", "w2", "b2", "w3", "b3", "w4", "b4"]
    weights = []
    for name, tensor in zip(names, model.parameters()):
        shape, values = text(tensor)
        weights.append(f"  float[{shape}] {name} = {{{values}}}")
    initializers = ",\n".join(weights)
    graph = f"""<ir_version: 10, opset_import: ["": 18]>
gratings (float[n,1,{SIZE},{SIZE}] x) => (float[n,{CLASSES}] scores)
<
{initializers}
>
{{
  c1 = Conv <kernel_shape = [5,5], pads = [2,2,2,2]> (x, w1, b1)
  r1 = Relu (c1)
  p1 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r1)
  c2 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (p1, w2, b2)
  r2 = Relu (c2)
  p2 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r2)
  c3 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (p2, w3, b3)
  r3 = Relu (c3)
  p3 = GlobalAveragePool (r3)
  f = Flatten (p3)
  scores = Gemm <transB = 1> (f, w4, b4)
}}
"""
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(graph)


if __name__ == "__main__":
    main()
