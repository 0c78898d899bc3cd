"""Is the budget of false alarms met on images that the calibration has not seen?

    python -m benchmarks.eval_false_alarms --folder /tmp/alarms --images 600

Simulated cameras, pristine photos only, one in ten by a camera without a fingerprint. Half of them
are scanned and calibrated with, the other half is scanned by that calibration, all by the jobs as
users run them. Then the scores of both halves are split anew many times: the mean share of flagged
images, and how often their number lies in the interval that was stated beforehand.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from forensics import manifest
from forensics.calibration.build import Pristine, calibrate
from forensics.calibration.rates import false_alarms
from forensics.prnu.localization import PrnuSettings
from forensics.run import Run, load_document, load_run
from forensics.synth import ArchiveSettings, make_archive
from jobs.calibrate import CalibrateJob, make_calibration
from jobs.camera_model import CameraModelJob, camera_model
from jobs.cluster import PoolSettings, connected
from jobs.fingerprint import FingerprintJob, fingerprint
from jobs.scan import ScanJob, scan
from jobs.tracking import TrackingSettings

RATES = (0.01, 0.02, 0.05, 0.1)
SPLITS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--detectors", default="prnu,manipulation")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    folder: Path = given.folder
    settings = ArchiveSettings(
        cameras=4,
        width=480,
        height=360,
        reference_images=10,
        training_images=10,
        archive_images=given.images,
        forged_fraction=0.0,
        diverse=True,
        seed=given.seed,
    )
    about = machine()
    archive = folder / "archive"
    if not archive.exists():
        make_archive(archive, settings, workers=given.workers)
    rows = [row for row in manifest.read(str(archive / "truth.parquet")) if row.label == "pristine"]
    for name, part in (("calibrated", rows[::2]), ("held-out", rows[1::2])):
        manifest.write_manifest(part, str(folder / f"{name}.parquet"))
    common: dict[str, Any] = {
        "pool": PoolSettings(workers=given.workers),
        "tracking": TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}"),
    }
    models, file = str(folder / "models"), str(folder / "calibration.json")
    detectors = tuple(given.detectors.split(","))

    def scanned(name: str, **more: Any) -> Run:
        output = str(folder / f"scan-{name}")
        job = ScanJob(
            manifest=str(folder / f"{name}.parquet"),
            output=output,
            camera_models=models,
            detectors=detectors,
            prnu=PrnuSettings(strategy="sw-ss", decision="stm"),
            **common,
            **more,
        )
        if scan(job) != 0:
            raise SystemExit(f"the scan of {name} is not complete")
        return load_run(output)

    with connected(common["pool"]):
        if not (folder / "models").exists():
            references = str(archive / "reference.parquet")
            fingerprint(FingerprintJob(manifest=references, output=models, **common))
            training = str(archive / "training.parquet")
            camera_model(CameraModelJob(manifest=training, models=models, **common))
        first = scanned("calibrated")
        make_calibration(
            CalibrateJob(run=first.uri, output=file, rate=given.rate, tracking=common["tracking"])
        )
        second = scanned("held-out", calibration=file)
    flags = load_document(second.uri)["counts"]["flags"]
    print(flags["sentence"])
    both = _scores(first) | _scores(second)
    table = {rate: _resplit(first, both, detectors, rate, given.seed) for rate in RATES}
    for rate, found in table.items():
        print(rate, {name: {k: round(v, 4) for k, v in f.items()} for name, f in found.items()})
    result = {"machine": about, "settings": vars(given) | {"folder": ""}, "flags": flags}
    path = Path(__file__).parent / "results" / "false_alarms.json"
    path.write_text(json.dumps({**result, "splits": SPLITS, "rates": table}, indent=2) + "\n")


def _scores(run: Run) -> dict[str, dict[str, float | None]]:
    """Score of every image by detector; None where it abstained."""
    return {
        row["image_id"]: {name: row[name] and row[name]["score"] for name in run.findings}
        for shard in sorted(run.committed())
        for row in run.report(shard).to_pylist()
    }


def _resplit(
    run: Run,
    images: dict[str, dict[str, float | None]],
    detectors: tuple[str, ...],
    rate: float,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Flagged share and coverage, by detector alone at this rate, and of all that share it."""
    rng = np.random.default_rng(seed)
    ids = sorted(images)
    kinds = {name: (name,) for name in detectors} | {"together": detectors}
    sums: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    outcome = {"scored", "abstained", "failed"}
    for _ in range(SPLITS):
        order = rng.permutation(len(ids))
        half = [ids[n] for n in order[: len(ids) // 2]]
        rest = [ids[n] for n in order[len(ids) // 2 :]]
        for kind, names in kinds.items():
            found = Pristine(images=len(half), outcomes={n: Counter(outcome) for n in names})
            for n in names:
                found.scores[n] = [s for i in half if (s := images[i][n]) is not None]
            known = calibrate(run, found, rate, detectors=names).detectors
            alarms = {
                n: {i for i in rest if (s := images[i][n]) is not None and s > known[n].threshold}
                for n in names
            }
            judged = {i for i in rest if any(images[i][n] is not None for n in names)}
            bounds = [
                false_alarms(
                    known[n].rank,
                    known[n].pristine,
                    known[n].above_threshold,
                    sum(images[i][n] is not None for i in rest),
                    1 - 0.05 / len(names),
                )
                for n in names
            ]
            flagged = len(set().union(*alarms.values()))
            sums[kind]["flagged"] += flagged
            sums[kind]["of"] += len(judged)
            low, high = max(b.low for b in bounds), sum(b.high for b in bounds)
            sums[kind]["within"] += int(low <= flagged <= high)
    return {
        kind: {"share": s["flagged"] / s["of"], "within": s["within"] / SPLITS}
        for kind, s in sums.items()
    }


if __name__ == "__main__":
    main()
