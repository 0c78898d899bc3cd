"""The camera fingerprint K: maximum-likelihood estimate from many images of one camera.

``K = Σ W_i I_i / (Σ I_i² + 1)`` per channel (Chen, Fridrich, Goljan, Lukáš 2008,
doi:10.1109/TIFS.2007.916285, equation 6), with the reference's weights (polimi-ispl/prnu-python).
Both sums are plain sums over images: they merge in any order and can be extended later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from forensics.arrays import to_tensor
from forensics.prnu.cleanup import centre_, flatten_spectrum_
from forensics.prnu.residual import GRAY, wavelet_noise

_BRIGHT = 252.0  # from here up a pixel counts less
_SATURATED = 250  # a channel whose maximum is above this one may be clipped there


class FingerprintAccumulator:
    """Sums over the images of one camera, all of one size.

    Sums are float32: splitting and ordering the images differently changes a fingerprint by less
    than 1e-5 of its standard deviation. Memory: 24 bytes per pixel.
    """

    def __init__(self, sigma: float = 5.0, levels: int = 4) -> None:
        """``sigma`` and ``levels`` as in ``noise_residual``."""
        if not sigma > 0 or levels < 1:
            raise ValueError(f"sigma and levels must be positive, got {sigma} and {levels}")
        self.sigma = float(sigma)
        self.levels = int(levels)
        self.count = 0  # images
        self._numerator: torch.Tensor | None = None  # (3, H, W)
        self._denominator: torch.Tensor | None = None  # (3, H, W)

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the images, None before the first."""
        if self._numerator is None:
            return None
        return int(self._numerator.shape[1]), int(self._numerator.shape[2])

    def update(self, rgb: NDArray[Any] | torch.Tensor, name: str = "") -> None:
        """Add one image, uint8 (H, W, 3) on the sensor grid.

        Raises:
            ValueError: not such an image, or of another size than the images before; the message
                names ``name`` and both sizes. The sums are left as they were.
        """
        pixels = to_tensor(rgb)
        who = name or "image"
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != torch.uint8:
            raise ValueError(
                f"{who}: a fingerprint takes uint8 (H, W, 3), "
                f"not {pixels.dtype} {tuple(pixels.shape)}"
            )
        height, width = int(pixels.shape[0]), int(pixels.shape[1])
        if self.size not in (None, (height, width)):
            raise ValueError(
                f"{who} is {_name((height, width))}, but the {self.count} images before it are "
                f"{_name(self.size)}: a fingerprint is of one size, cut or leave it out"
            )
        if self._numerator is None or self._denominator is None:
            self._numerator = torch.zeros(3, height, width, device=pixels.device)
            self._denominator = torch.zeros_like(self._numerator)
        for channel in range(3):
            noise = wavelet_noise(
                pixels[..., channel : channel + 1], (1.0,), self.sigma, self.levels
            )
            values = pixels[..., channel].to(torch.float32)
            self._numerator[channel].addcmul_(noise, values, value=1 / 255)
            self._denominator[channel] += _weight(values)
        self.count += 1

    def merge(self, other: FingerprintAccumulator) -> FingerprintAccumulator:
        """Add the images of ``other`` to this one, which is returned; ``other`` is left as it was.

        Raises:
            ValueError: another sigma, number of levels or image size.
        """
        mine, theirs = (self.sigma, self.levels), (other.sigma, other.levels)
        if mine != theirs:
            raise ValueError(
                f"cannot merge fingerprints of different sigma and levels: {mine} and {theirs}"
            )
        if other._numerator is None or other._denominator is None:
            return self
        if self._numerator is None or self._denominator is None:
            self._numerator = other._numerator.clone()
            self._denominator = other._denominator.clone()
        elif self._numerator.shape != other._numerator.shape:
            raise ValueError(
                f"cannot merge fingerprints of different sizes: {self.count} images of "
                f"{_name(self.size)} and {other.count} of {_name(other.size)}"
            )
        else:
            self._numerator += other._numerator.to(self._numerator.device)
            self._denominator += other._denominator.to(self._denominator.device)
        self.count += other.count
        return self

    def compute(self) -> NDArray[Any]:
        """The gray fingerprint after ``zero_mean_total`` and ``wiener_dft``: float32 (H, W).

        Raises:
            ValueError: no image yet.
        """
        if self._numerator is None or self._denominator is None:
            raise ValueError("a fingerprint needs at least one image")
        gray = torch.zeros_like(self._numerator[0])
        for weight, above, below in zip(GRAY, self._numerator, self._denominator, strict=True):
            gray.addcdiv_(above, below + 1, value=weight)
        fingerprint: NDArray[Any] = flatten_spectrum_(centre_(gray)).cpu().numpy()
        return fingerprint

    def to_bytes(self) -> bytes:
        """The sums and settings as safetensors, to go on from later."""
        tensors = {
            "sigma": torch.tensor(self.sigma, dtype=torch.float64),
            "levels": torch.tensor(self.levels),
            "count": torch.tensor(self.count),
        }
        if self._numerator is not None and self._denominator is not None:
            tensors["numerator"] = self._numerator
            tensors["denominator"] = self._denominator
        return bytes(save_tensors(tensors))

    @classmethod
    def from_bytes(cls, data: bytes) -> FingerprintAccumulator:
        """Inverse of ``to_bytes``.

        Raises:
            ValueError: the bytes are damaged or hold something else.
        """
        try:
            tensors = load_tensors(data)
            result = cls(float(tensors["sigma"]), int(tensors["levels"]))
            result.count = int(tensors["count"])
            if result.count:
                result._numerator = tensors["numerator"]
                result._denominator = tensors["denominator"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"no saved fingerprint sums: {error}") from error
        return result

    def save(self, path: str | Path) -> None:
        """``to_bytes`` into a file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> FingerprintAccumulator:
        """Inverse of ``save``."""
        return cls.from_bytes(Path(path).read_bytes())


def _name(size: tuple[int, int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "no size"


def _weight(values: torch.Tensor) -> torch.Tensor:
    """``(intensity_scale · not_saturated)²`` of one channel (H, W), 0..255."""
    scale = torch.where(
        values < _BRIGHT, values / _BRIGHT, torch.exp((values - _BRIGHT).square_() / -6)
    )
    highest = values.max()
    if highest > _SATURATED:
        clipped = values == highest
        beside = torch.zeros_like(clipped)
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            beside |= clipped.roll(shift, axis)
        scale.masked_fill_(clipped & beside, 0.0)
    return scale.square_()
