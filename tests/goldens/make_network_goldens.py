"""Compute with PyTorch what the residual networks must give; writes networks/*.npz beside itself.

    python tests/goldens/make_network_goldens.py      (needs PyTorch; about a minute on 2 CPU cores)

Everything is float64. The files hold outputs only: names and shapes of the state dict, logits and
the gradient of the mean cross-entropy with respect to the pixels, in evaluation and in training
mode, and the running statistics after one forward pass in training mode. Weights, images and
labels are drawn by both sides (drawn_weights.py). Pixels are standardised first, inside the
network, with numbers that are not those of a data set.
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch
from drawn_weights import draw_batch, draw_state_dict
from torch import nn
from torch.nn import functional

FOLDER = pathlib.Path(__file__).parent / "networks"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NUM_CLASSES = 10
CASES = {  # name -> (family, width, blocks, image shape)
    "preactresnet10-8": ("preactresnet", 8, 1, (4, 16, 16, 3)),
    "wideresnet10-1": ("wideresnet", 1, 1, (4, 16, 16, 3)),
    "preactresnet18-64": ("preactresnet", 64, 2, (4, 32, 32, 3)),
    "wideresnet34-1": ("wideresnet", 1, 5, (4, 32, 32, 3)),
    "wideresnet34-2": ("wideresnet", 2, 5, (4, 16, 16, 3)),
    "wideresnet34-10": ("wideresnet", 10, 5, (4, 8, 8, 3)),
}


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Pre-activation block; `wide` decides what the shortcut is called."""

    def __init__(self, inputs, outputs, stride, wide):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        self.project = None
        if stride != 1 or inputs != outputs:
            layer = conv(inputs, outputs, 1, stride)
            if wide:
                self.convShortcut = layer
            else:
                self.shortcut = nn.Sequential(layer)
            self.project = lambda z: layer(z)

    def forward(self, x):
        active = functional.relu(self.bn1(x))
        x = x if self.project is None else self.project(active)
        return x + self.conv2(functional.relu(self.bn2(self.conv1(active))))


class Group(nn.Module):
    """A stage of a WideResNet: its blocks are one level deeper in the state dict."""

    def __init__(self, blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class Network(nn.Module):
    """Both families; the attributes' names are those of the published state dicts."""

    def __init__(self, family, width, num_blocks):
        super().__init__()
        wide = family == "wideresnet"
        features = (
            [16 * width * 2**i for i in range(3)] if wide else [width * 2**i for i in range(4)]
        )
        inputs = 16 if wide else width
        self.conv1 = conv(3, inputs, 3)
        self.stages = []
        for i, outputs in enumerate(features, start=1):
            blocks = []
            for j in range(num_blocks):
                blocks.append(Block(inputs, outputs, 2 if i > 1 and j == 0 else 1, wide))
                inputs = outputs
            stage = Group(blocks) if wide else nn.Sequential(*blocks)
            self.add_module(f"block{i}" if wide else f"layer{i}", stage)
            self.stages.append(lambda z, stage=stage: stage(z))
        norm, linear = nn.BatchNorm2d(inputs), nn.Linear(inputs, NUM_CLASSES)
        self.add_module("bn1" if wide else "bn", norm)
        self.add_module("fc" if wide else "linear", linear)
        self.finish = lambda z: linear(functional.relu(norm(z)).mean((2, 3)))

    def forward(self, x):
        mean, std = (torch.tensor(v, dtype=x.dtype)[:, None, None] for v in (MEAN, STD))
        x = self.conv1((x - mean) / std)
        for stage in self.stages:
            x = stage(x)
        return self.finish(x)


def differentiate(network, images, labels):
    """Return logits and the gradient of the mean loss, pixels last again."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_(True)
    logits = network(x)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels), x)
    return logits.detach().numpy(), gradient.permute(0, 2, 3, 1).numpy()


def compute_case(family, width, num_blocks, shape):
    """Compute one network's outputs."""
    network = Network(family, width, num_blocks).double()
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    drawn = {name: torch.from_numpy(array) for name, array in draw_state_dict(shapes).items()}
    network.load_state_dict(drawn, strict=False)
    images, labels = draw_batch(shape, NUM_CLASSES)
    labels = torch.from_numpy(labels)
    outputs = {"images_shape": np.asarray(shape)}
    outputs["entries"] = np.asarray(
        [f"{name} {','.join(map(str, shape))}" for name, shape in shapes.items()]
    )
    for mode in ("eval", "train"):
        network.train(mode == "train")
        logits, gradient = differentiate(network, images, labels)
        outputs |= {f"{mode}_logits": logits, f"{mode}_gradient": gradient}
    for name, tensor in network.state_dict().items():
        if "running" in name:
            outputs[f"after {name}"] = tensor.numpy()
    return outputs


def main():
    """Write every case."""
    FOLDER.mkdir(exist_ok=True)
    for name, case in CASES.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **compute_case(*case))
        print(f"{name}: {(FOLDER / f'{name}.npz').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
