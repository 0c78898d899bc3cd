"""Phase 1: Noiseprint++ learns what patches have in common but for what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forensics.evaluate.metrics import auc
from forensics.train.peers import ALONE, Peers
from forensics.train.precision import autocast
from forensics.train.trufor.losses import contrastive, squared_distances
from forensics.train.trufor.patches import PatchBatch, Patches, PhotoCrops
from forensics.train.trufor.phase import Loss, Sample, device_of, means
from forensics.train.trufor.settings import ContrastiveSettings
from forensics.trufor.model import SCALE
from forensics.trufor.noiseprint import Noiseprint

_KINDS = ("camera", "position", "history")


class NoiseprintPhase:
    """Contrastive learning from photos of known cameras (Eq. 1).

    Measures: ``auc``, of same against different by distance of patches, and ``retrieval``, the
    part of the patches whose nearest one is of their group; ``auc_camera``, ``auc_position`` and
    ``auc_history`` take as different those that differ in this one respect.

    Args:
        network: trained in place, on the device it is on.
        photos: crops of photos, four of one camera at least.
        settings: how.

    Raises:
        UserError: photos too few.
    """

    def __init__(
        self, network: Noiseprint, photos: Sequence[PhotoCrops], settings: ContrastiveSettings
    ) -> None:
        # as oneDNN and cuDNN convolve fastest
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.patches = Patches(photos, settings)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.settings.steps

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, as for the first Noiseprint."""
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)

    def train(self) -> None:
        """All of the network is trained."""
        self.network.train()

    def batches(self, epoch: int, peers: Peers) -> Iterator[PatchBatch]:
        """Of each batch of an epoch, what falls to this process."""
        return self.patches.training(epoch, peers)

    def loss(self, batch: PatchBatch, peers: Peers) -> Loss:
        """Eq. 1 over the patches of all processes."""
        residuals = self._residuals(batch, peers)
        total = contrastive(residuals, batch.groups.to(residuals.device))
        return Loss(
            total if len(batch.mine) else None, total.detach() / peers.count, len(batch.keys)
        )

    def validate(self, peers: Peers) -> dict[str, float]:
        """Loss per patch, and how well distances tell same from different."""
        rows = []
        for batch in self.patches.validation(peers):
            residuals = self._residuals(batch, peers)
            loss = contrastive(residuals, batch.groups.to(residuals.device)) / len(batch.keys)
            distances = squared_distances(residuals).cpu().numpy()
            rows.append({"loss": float(loss), **_measures(distances, batch.keys)})
        return means(rows)

    @torch.no_grad()
    def samples(self, count: int) -> list[Sample]:
        """Patches of the first validation batch with their Noiseprint++."""
        batch = next(self.patches.validation())
        residuals = self._residuals(batch, ALONE)[:, 0].cpu().numpy()
        return [
            Sample(
                ", ".join(f"{kind} {i + 1}" for kind, i in zip(_KINDS, key, strict=True)),
                {"patch": pixels.permute(1, 2, 0).numpy(), "noiseprint": residual},
            )
            for pixels, residual, key in zip(
                batch.pixels[:count], residuals[:count], batch.keys[:count].tolist(), strict=True
            )
        ]

    def _residuals(self, batch: PatchBatch, peers: Peers) -> Tensor:
        """float32 (B, 1, patch, patch) of all processes; this one's part has a gradient."""
        device = device_of(self.network)
        side = self.settings.patch
        residuals = torch.zeros((len(batch.keys), 1, side, side), device=device)
        if not len(batch.mine):
            peers.sum_([residuals])
            return residuals
        with autocast(device, self.settings.precision):
            own = self.network(batch.pixels.to(device) / SCALE).float()
        mine = torch.from_numpy(batch.mine).to(device)
        residuals[mine] = own.detach()
        peers.sum_([residuals])
        return residuals.index_copy(0, mine, own)


def _measures(distances: NDArray[np.float32], keys: NDArray[np.int64]) -> dict[str, float]:
    """Of a batch: (B, B) distances of patches with (B, 3) keys."""
    differs = keys[:, None] != keys[None, :]
    same = ~differs.any(axis=2)
    pairs = np.triu(np.ones_like(same), k=1)
    measures = {"auc": auc(-distances, same, pairs)}
    for number, kind in enumerate(_KINDS):
        only = differs[..., number] & (differs.sum(axis=2) == 1)
        measures[f"auc_{kind}"] = auc(-distances, same, pairs & (same | only))
    others = np.where(np.eye(len(keys), dtype=np.bool_), np.inf, distances)
    nearest = others.argmin(axis=1)
    measures["retrieval"] = float(same[np.arange(len(keys)), nearest].mean())
    return measures
