"""Identification and localization on real cameras and real forgeries, honestly split.

    python -m benchmarks.eval_camera_forgeries [--data ../shared/data]
    python -m benchmarks.eval_camera_forgeries --strategy sw-ss --decision stm

Fingerprints come from the flat fields. For every forged photo the predictor is trained on the other
natural photos of its camera, helped by those of the other cameras; the photo itself is never seen.
Writes benchmarks/results/camera_forgeries_<strategy>_<decision>.json and prints the tables.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forensics.decode import decode
from forensics.detectors import Resources, Subject
from forensics.evaluate.curves import f1_best
from forensics.evaluate.metrics import f1_fixed
from forensics.prnu.camera import CameraDetector, CameraSettings
from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.library import CameraLibrary
from forensics.prnu.localization import PrnuDetector, PrnuSettings
from forensics.prnu.training import PristineSample, pristine_sample, train
from forensics.records import Finding, Image, ManifestRow, NotApplicable, Status

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")


def load(path: Path) -> tuple[UsedImage, Image]:
    data = path.read_bytes()
    used = UsedImage(path.stem, hashlib.sha256(data).hexdigest(), len(data))
    return used, decode(data)


def fingerprint(folder: Path) -> CameraModel:
    sums, used = FingerprintAccumulator(), []
    for path in sorted((folder / "flat").iterdir()):
        reference, image = load(path)
        sums.update(image.pixels, path.name)
        used.append(reference)
    return CameraModel(
        folder.name, torch.from_numpy(sums.compute()), sums.sigma, sums.levels, tuple(used)
    )


def write(folder: Path, models: Sequence[CameraModel]) -> CameraLibrary:
    for model in models:
        (folder / model.camera_id).mkdir(parents=True, exist_ok=True)
        for name, data in model.to_files().items():
            (folder / model.camera_id / name).write_bytes(data)
    return CameraLibrary(str(folder))


def subject(path: Path, camera_id: str | None) -> Subject:
    row = ManifestRow(path.stem, path.as_uri(), camera_id=camera_id)
    return Subject(row, load(path)[1], CPU)


def ask(detector: Any, one: Subject) -> Finding:
    try:
        finding: Finding = detector.examine(one)
    except NotApplicable as abstention:
        return Finding(Status.NOT_APPLICABLE, str(abstention))
    return finding


def full(values: NDArray[Any], stride: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """A map at every pixel."""
    return values.repeat(stride, 0).repeat(stride, 1)[: shape[0], : shape[1]]


class Bench:
    def __init__(self, data: Path, settings: PrnuSettings, pool: bool) -> None:
        self.data, self.settings, self.pool = data, settings, pool
        folders = sorted(p for p in (data / "cameras").iterdir() if p.is_dir())
        self.models = {folder.name: fingerprint(folder) for folder in folders}
        self.photos = {f.name: sorted((f / "natural").iterdir()) for f in folders}
        self.samples: dict[str, list[PristineSample]] = {
            camera: [
                pristine_sample(self.models[camera], used, image.pixels)
                for used, image in map(load, paths)
            ]
            for camera, paths in self.photos.items()
        }

    def identification(self, folder: Path) -> dict[str, Any]:
        """Every natural photo against every fingerprint that can hold it."""
        library = write(folder, list(self.models.values()))
        detector = CameraDetector(CameraSettings(), Resources(CPU, library))
        table = {}
        for camera, paths in self.photos.items():
            for path in paths:
                finding = ask(detector, subject(path, None))
                table[path.stem] = {
                    "camera": camera,
                    "status": finding.status,
                    "best": finding.values.get("best_camera"),
                    "pce": {r["camera_id"]: round(r["pce"], 1) for r in finding.values["rank"]},
                    "ncc": {r["camera_id"]: round(r["ncc"], 4) for r in finding.values["rank"]},
                }
        return table

    def held_out(
        self, camera: str, photo: str
    ) -> tuple[list[PristineSample], list[PristineSample]]:
        """What one photo may be judged by: the camera's other photos, and what it may borrow."""
        own = [s for s in self.samples[camera] if s.image.image_id != photo]
        others = [s for c, samples in self.samples.items() if c != camera for s in samples]
        return own, others if self.pool else []

    def blind(self, camera: str, photo: str) -> CameraModel | None:
        """The camera's model as trained without one photo; None where it has no other."""
        own, others = self.held_out(camera, photo)
        return train(self.models[camera], own, others) if own else None

    def detectors(self, folder: Path) -> Iterator[tuple[str, Path, PrnuDetector | None]]:
        """Per natural photo: its camera, its path, and a detector that has not seen it."""
        for camera, paths in self.photos.items():
            for path in paths:
                model = self.blind(camera, path.stem)
                if model is None:
                    yield camera, path, None
                    continue
                library = write(folder / path.stem, [replace(model, training=())])
                yield camera, path, PrnuDetector(self.settings, Resources(CPU, library))

    def localization(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Forgeries and pristine photos, each with a detector that has not seen the photo."""
        forgeries = self.data / "localization" / "camera_forgeries"
        with (forgeries / "forgeries.csv").open() as file:
            rows = list(csv.DictReader(file))
        forged, pristine = {}, {}
        for camera, path, detector in self.detectors(folder):
            if detector is None:
                pristine[path.stem] = {"camera": camera, "status": "no other photo to train on"}
                continue
            pristine[path.stem] = {"camera": camera} | self._brief(
                ask(detector, subject(path, camera))
            )
            for row in rows:
                if row["source"] == path.stem:
                    forged[row["image"]] = self._forgery(detector, forgeries, row)
        return forged, pristine

    def _forgery(self, detector: PrnuDetector, folder: Path, row: dict[str, str]) -> dict[str, Any]:
        finding = ask(detector, subject(folder / row["image"], row["device"]))
        truth = load(folder / row["mask"])[1].pixels[..., 0] > 127
        result = {"camera": row["device"], "kind": row["kind"]} | self._brief(finding)
        if finding.status is not Status.OK:
            return result | {"f1_best": 0.0, "f1_decision": 0.0}
        probability, decision = (full(m.values, m.stride, truth.shape) for m in finding.maps)
        return result | {
            "f1_best": f1_best(probability, truth),
            "f1_decision": f1_fixed(decision.astype(np.float32), truth, 0.5),
        }

    @staticmethod
    def _brief(finding: Finding) -> dict[str, Any]:
        names = ("tampered_fraction", "rho_mean", "rho_hat_mean", "gain")
        values = {name: finding.values[name] for name in names if name in finding.values}
        return {
            "status": finding.status,
            "reason": finding.reason,
            "score": finding.score,
            **values,
        }


def means(forged: dict[str, Any], by: str) -> dict[str, Any]:
    groups = defaultdict(list)
    for result in forged.values():
        groups[result[by]].append((result["f1_best"], result["f1_decision"]))
        groups["all"].append((result["f1_best"], result["f1_decision"]))
    return {
        name: dict(
            zip(("f1_best", "f1_decision"), np.mean(values, 0).round(3).tolist(), strict=True)
        )
        for name, values in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--strategy", default=PrnuSettings().strategy)
    parser.add_argument("--decision", default=PrnuSettings().decision)
    parser.add_argument("--no-pool", action="store_true", help="train on the own camera alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = PrnuSettings(strategy=arguments.strategy, decision=arguments.decision)
    bench = Bench(arguments.data.resolve(), settings, not arguments.no_pool)
    with tempfile.TemporaryDirectory() as folder:
        forged, pristine = bench.localization(Path(folder) / "blind")
        for by in ("kind", "camera"):
            print(f"mean F1 per {by}:", json.dumps(means(forged, by), indent=1))
        for name, result in {**forged, **pristine}.items():
            print(name, {k: v for k, v in result.items() if v is not None})
        areas = [r["tampered_fraction"] for r in pristine.values() if "tampered_fraction" in r]
        print(f"pristine photos: mean false-alarm area {np.mean(areas):.3f} of {len(areas)}")
        identified = bench.identification(Path(folder) / "all")
        for name, result in identified.items():
            print(name, result)
    name = f"camera_forgeries_{settings.strategy}_{settings.decision}.json"
    (RESULTS / name).write_text(
        json.dumps(
            {
                "settings": settings.model_dump(),
                "pooled_over_cameras": bench.pool,
                "f1_per_kind": means(forged, "kind"),
                "f1_per_camera": means(forged, "camera"),
                "false_alarm_area": float(np.mean(areas)),
                "forged": forged,
                "pristine": pristine,
                "identification": identified,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
