"""Mean and standard deviation of the pixels of each channel, as the reference codes have them."""

from __future__ import annotations

PIXEL_STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn_cropped": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Data set -> (mean, standard deviation), channels R, G, B, pixels in [0, 1].

Digits, MNIST and Fashion-MNIST are absent: their networks take pixels as they are.
"""
