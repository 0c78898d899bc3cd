"""What a camera model wrongly calls tampered in pristine images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forensics.localize.gain import find_gain, judge
from forensics.localize.threshold import score, stm
from forensics.prnu.camera_model import FalseAlarm, WindowModel
from forensics.prnu.predictors import FeaturePredictor
from forensics.prnu.sampling import CELL, PristineSample

WORST = 15  # kept in the card


def audit(
    model: WindowModel,
    samples: Sequence[PristineSample],
    unseen: Sequence[FeaturePredictor],
) -> tuple[FalseAlarm, ...]:
    """What each image raises with its predictor of ``unseen``; the worst ones first.

    The spreads are those of ``model``, whose windows are the samples' `audit_window`.
    """
    alarms = []
    for sample, predictor in zip(samples, unseen, strict=True):
        rho, saturation = map(torch.from_numpy, (sample.audit_rho, sample.audit_saturation))
        features = torch.from_numpy(sample.audit_features)
        rho_hat = predictor.predict_features(features).clamp(min=0)
        sigma0, sigma1 = torch.full_like(rho, model.sigma0), torch.full_like(rho, model.sigma1)
        gain = find_gain(rho, rho_hat, sigma0, sigma1, saturation) if model.image_gain else 1.0
        probability = judge(rho, gain * rho_hat, sigma0, sigma1, saturation)[1].numpy()
        area = float(stm(probability, CELL).mean())
        alarms.append(FalseAlarm(sample.image.image_id, area, score(probability, CELL)))
    alarms.sort(key=lambda alarm: (-alarm.area, -alarm.score, alarm.image_id))
    return tuple(alarms[:WORST])
