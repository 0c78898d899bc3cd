"""Decision maps by a conditional random field: neighbours of like colour are decided alike.

Two labels t and the energy ``Σ −log φ(P_i, t_i) + α Σ t_i + Σ β_ij |t_i − t_j|`` over all pairs of
8-neighbours, ``β_ij = β0 + β1 exp(−‖I_i − I_j‖² / 2φ²)``: Korus and Huang 2017
(doi:10.1109/TIFS.2016.2636089), node potentials of equation 9 of the CNN-predictor paper. The
interactions are submodular, so one minimum cut finds the global minimum (Kolmogorov and Zabih 2004,
doi:10.1109/TPAMI.2004.1262177).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import maxflow
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from forensics.arrays import Array, like, to_tensor
from forensics.config import Settings
from forensics.localize.cells import cell_pixels, cell_sums

Floats = NDArray[np.float64]

_FLOOR = 0.001  # of the node potentials: no pixel is beyond persuasion
_LEVELS = 256  # of the score
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to half of the 8 neighbours: every pair once


class CRFSettings(Settings):
    """Parameters of the conditional random field."""

    alpha: float = Field(default=-1.0, description="cost of a tampered cell; negative favours them")
    beta0: float = Field(default=0.5, ge=0, description="cost of neighbours that are told apart")
    beta1: float = Field(default=5.6, ge=0, description="more of it where their colours are alike")
    phi: float = Field(
        default=25.0, gt=0, description="scale on which colours are alike, of 0..255"
    )


def segment(
    probability: Array,
    rgb: Array,
    tau: float = 0.5,
    alpha: float = -1.0,
    beta0: float = 0.5,
    beta1: float = 5.6,
    phi: float = 25.0,
) -> Array:
    """Labels of minimum energy: True where tampered. Of several minima the fewest tampered cells.

    The cut itself is made on the CPU.

    Args:
        probability: (h, w) tampering probabilities, 0..1.
        rgb: (h, w, 3) colours of the same cells, 0..255; see `rgb_at`.
        tau: probability at which a cell on its own is undecided (but for ``alpha``), above 0 and
            below 1.
        alpha: cost of every tampered cell; below 0 it favours them.
        beta0: cost of two neighbours that are decided differently, at least 0.
        beta1: what is added to it where their colours are the same, at least 0.
        phi: distance of colours over which that fades, above 0.

    Returns:
        bool (h, w).

    Raises:
        ValueError: shapes do not fit, probabilities outside 0..1, or a parameter out of range.
    """
    p, colours = _arrays(probability, rgb)
    authentic, tampered = _nodes(p, tau, alpha)
    graph = maxflow.GraphFloat(p.size, len(_STEPS) * p.size)
    nodes = graph.add_grid_nodes(p.shape)
    for (dy, dx), near, _, beta in _pairs(colours, beta0, beta1, phi):
        capacity = np.zeros(p.shape)
        capacity[near] = beta
        structure = np.zeros((3, 3))
        structure[1 + dy, 1 + dx] = 1
        graph.add_grid_edges(nodes, capacity, structure, symmetric=True)
    # Only the difference of the two costs matters, so that no capacity is negative.
    cost = tampered - authentic
    graph.add_grid_tedges(nodes, np.maximum(cost, 0), np.maximum(-cost, 0))
    graph.maxflow()
    return like(probability, torch.from_numpy(graph.get_grid_segments(nodes)))


def score(
    probability: Array,
    rgb: Array,
    alpha: float = -1.0,
    beta0: float = 0.5,
    beta1: float = 5.6,
    phi: float = 25.0,
) -> float:
    """The highest threshold at which `segment` still finds something tampered, 0..1.

    What is tampered at one threshold is so at every lower one, since every cell's costs follow the
    threshold one way (parametric cuts are nested); so halving finds it, to 1/256. 0 where nothing
    is found at any. Arguments as for `segment`.
    """
    low, high = 0, _LEVELS
    while high - low > 1:
        middle = (low + high) // 2
        found = segment(probability, rgb, middle / _LEVELS, alpha, beta0, beta1, phi)
        low, high = (middle, high) if bool(found.any()) else (low, middle)
    return low / _LEVELS


def energy(
    labels: Array,
    probability: Array,
    rgb: Array,
    tau: float = 0.5,
    alpha: float = -1.0,
    beta0: float = 0.5,
    beta1: float = 5.6,
    phi: float = 25.0,
) -> float:
    """Energy of bool (h, w) labels, which `segment` minimises; the rest as there."""
    p, colours = _arrays(probability, rgb)
    t = to_tensor(labels).cpu().numpy().astype(bool)
    if t.shape != p.shape:
        raise ValueError(f"labels {t.shape} and probabilities {p.shape} differ in shape")
    authentic, tampered = _nodes(p, tau, alpha)
    total = float(np.where(t, tampered, authentic).sum())
    for _, near, far, beta in _pairs(colours, beta0, beta1, phi):
        total += float(beta[t[near] != t[far]].sum())
    return total


def rgb_at(rgb: Array, stride: int) -> Array:
    """Mean colour of every cell: (H, W, 3) in, float32 (ceil(H/stride), ceil(W/stride), 3) out.

    In the units of ``rgb``. Raises `ValueError` where it is not (H, W, 3).
    """
    t = to_tensor(rgb)
    if t.ndim != 3 or t.shape[2] != 3:
        raise ValueError(f"colours are (H, W, 3), not {tuple(t.shape)}")
    pixels = cell_pixels(int(t.shape[0]), int(t.shape[1]), stride).to(t.device)
    return like(rgb, cell_sums(t, stride, (0, 1)).to(torch.float32) / pixels[..., None])


def _arrays(probability: Any, rgb: Any) -> tuple[Floats, Floats]:
    p = to_tensor(probability).cpu().numpy().astype(np.float64)
    colours = to_tensor(rgb).cpu().numpy().astype(np.float64)
    if p.ndim != 2 or 0 in p.shape or colours.shape != (*p.shape, 3):
        raise ValueError(f"a map (h, w) needs colours (h, w, 3), got {p.shape} and {colours.shape}")
    if not ((p >= 0) & (p <= 1)).all() or not np.isfinite(colours).all():
        raise ValueError("probabilities must lie within 0..1 and colours must be finite")
    return p, colours


def _nodes(p: Floats, tau: float, alpha: float) -> tuple[Floats, Floats]:
    """Costs of authentic and of tampered."""
    if not 0 < tau < 1:
        raise ValueError(f"tau must lie between 0 and 1, got {tau}")
    authentic = -np.log(np.maximum(_FLOOR, 1 - p / (2 * tau)))
    tampered = -np.log(np.maximum(_FLOOR, 1 - (1 - p) / (2 * (1 - tau))))
    return authentic, tampered + alpha


def _pairs(
    colours: Floats, beta0: float, beta1: float, phi: float
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice], Floats]]:
    """For each step to a neighbour: the step, cells that have one, those cells, the costs."""
    if not (beta0 >= 0 and beta1 >= 0 and phi > 0):
        raise ValueError(
            f"beta0 and beta1 must be at least 0 and phi above 0, got {beta0}, {beta1} and {phi}"
        )
    height, width = colours.shape[:2]
    for dy, dx in _STEPS:
        near = (slice(0, max(height - dy, 0)), slice(max(-dx, 0), max(width - max(dx, 0), 0)))
        far = (slice(dy, height), slice(max(dx, 0), max(width + min(dx, 0), 0)))
        distance = np.square(colours[near] - colours[far]).sum(axis=-1)
        yield (dy, dx), near, far, beta0 + beta1 * np.exp(distance / (-2 * phi**2))
