"""The CNN correlation predictor: learns from pixels what hand-made features leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.blocks import ImageBlocks
from forensics.prnu.predictors.fragments import dense
from forensics.prnu.predictors.network import CNNSettings, CorrelationNetwork
from forensics.prnu.saturation import saturation_plane
from forensics.records import UserError
from forensics.train.predictor.regression import Regression, TrainingSettings

_BATCH = 64  # blocks predicted at once
_SHAPE = ("window", "widths", "kernel", "hidden")
_NETWORK = "network."


class CNNPredictor:
    """Prediction by the network of the CNN-predictor paper.

    Predictions are what the network gives: they may be a little negative, callers clamp them.
    Saturated windows (S of `saturation.SATURATED` and above) are not learned from, and what is
    predicted for them means nothing.

    Args:
        network: its shape.
        training: how `fit` trains it; the defaults are the paper's and want a GPU.
    """

    name: ClassVar[str] = "cnn"

    def __init__(
        self, network: CNNSettings | None = None, training: TrainingSettings | None = None
    ) -> None:
        self.settings = network if network is not None else CNNSettings()
        self.training = training if training is not None else TrainingSettings()
        self.window: int | None = None
        self._network: CorrelationNetwork | None = None

    def fit(self, blocks: Array, rho: Array) -> Self:
        """Learn from uint8 (N, w, w, 3) blocks and their correlations (N,).

        Training is on the device of ``blocks``. Nothing is known of the photos behind the blocks:
        every block is split off on its own. Raises `UserError` for a window that does not fit the
        network and where fewer than two blocks are not saturated.
        """
        pixels, target = to_tensor(blocks), to_tensor(rho).cpu().numpy().astype(np.float32)
        if pixels.ndim != 4 or target.shape != (len(pixels),):
            shapes = f"{tuple(pixels.shape)} and rho {target.shape}"
            raise ValueError(f"blocks must be (N, w, w, 3) and rho (N,), got blocks {shapes}")
        window = int(pixels.shape[1])
        images = [_single(i, block, target[i]) for i, block in enumerate(pixels)]
        return self.fit_images(images, window, pixels.device)

    def fit_images(
        self, images: Sequence[ImageBlocks], window: int, device: torch.device | str = "cpu"
    ) -> Self:
        """Learn from photos with blocks of that window. Raises `UserError` as `Regression` does."""
        network = CorrelationNetwork(self.settings, window, self.training.seed).to(device)
        regression = Regression(network, images, self.training)
        for _ in regression.epochs():
            pass
        return self.take(regression.finish())

    def take(self, network: CorrelationNetwork) -> Self:
        """Predict with a network trained elsewhere."""
        self._network = network.eval()
        self.settings, self.window = network.settings, network.window
        return self

    @torch.inference_mode()
    def predict(self, blocks: Array) -> Array:
        """float32 (N,) for uint8 (N, w, w, 3) blocks."""
        network = self._on(blocks)
        pixels = to_tensor(blocks)
        expected = (network.window, network.window, 3)
        if pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ValueError(f"blocks must be (N, *{expected}), got shape {tuple(pixels.shape)}")
        batches = torch.split(pixels.movedim(-1, 1), _BATCH)
        return like(blocks, torch.cat([network(batch)[:, 0, 0] for batch in batches]))

    def predict_dense(self, rgb: Array, stride: int = 1) -> Array:
        """float32 (ceil(H/stride), ceil(W/stride)) for uint8 (H, W, 3), see `fragments.dense`."""
        return like(rgb, dense(self._on(rgb), to_tensor(rgb), stride))

    def state(self) -> dict[str, torch.Tensor]:
        """``window``, ``widths``, ``kernel``, ``hidden`` (int64) and ``network.*`` (float32):
        weights and the scale of the output."""
        network = self._fitted()
        shape = {"window": network.window, **network.settings.model_dump()}
        tensors = {name: torch.tensor(shape[name], dtype=torch.int64) for name in _SHAPE}
        weights = network.state_dict()
        return tensors | {f"{_NETWORK}{k}": v.detach().cpu().clone() for k, v in weights.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """The predictor back from its tensors. Raises `UserError` where they are not a whole one's.

        Training settings are not part of the state: `fit` would use the defaults.
        """
        missing = set(_SHAPE) - set(state)
        if missing:
            raise UserError(f"the state of a cnn predictor lacks {', '.join(sorted(missing))}")
        weights = {k.removeprefix(_NETWORK): v for k, v in state.items() if k.startswith(_NETWORK)}
        try:
            settings = CNNSettings(
                widths=tuple(state["widths"].tolist()),
                kernel=int(state["kernel"]),
                hidden=int(state["hidden"]),
            )
            network = CorrelationNetwork(settings, int(state["window"]))
            network.load_state_dict(weights)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the weights of a cnn predictor do not fit it: {error}") from None
        return cls(settings).take(network)

    def _fitted(self) -> CorrelationNetwork:
        if self._network is None:
            raise ValueError("this predictor has not been fitted")
        return self._network

    def _on(self, x: Array) -> CorrelationNetwork:
        """The network, moved to where ``x`` is."""
        return self._fitted().to(to_tensor(x).device)


def _single(number: int, block: torch.Tensor, rho: np.float32) -> ImageBlocks:
    """A block as a photo of its own."""
    return ImageBlocks(
        image_id=f"{number:08d}",
        window=int(block.shape[0]),
        pixels=block.cpu().numpy(),
        positions=np.zeros((1, 2), np.int64),
        rho=np.array([rho], np.float32),
        saturation=saturation_plane(block).mean().cpu().numpy()[None],
    )
