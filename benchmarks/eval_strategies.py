"""Strategies, predictors and decisions on real cameras and real forgeries, honestly split.

    python -m benchmarks.eval_strategies [--plain] [--strategies sw-ss m-slic] [--cameras …]

Every forged photo and the photo it came from are judged by camera models that have seen neither,
as in `benchmarks.eval_camera_forgeries`, at 24 thresholds. ``--plain`` trains as the papers do: no
gain per image, nothing borrowed from other cameras. Writes
benchmarks/results/camera_strategies[_plain].json and prints the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmarks.eval_camera_forgeries import Bench, write
from benchmarks.machine import machine
from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study.localization import evaluate_image
from forensics.evaluate.study.localization_summary import summarise
from forensics.evaluate.study.settings import AXES, LocalizationStudy
from forensics.evaluate.study.statistics import groups
from forensics.localize.strategies import Strategy
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.localization import PrnuSettings
from forensics.prnu.training import train
from forensics.records import FORGED, PRISTINE, ManifestRow, Status

RESULTS = Path(__file__).parent / "results"


def blind(bench: Bench, camera: str, photo: str, names: list[str], plain: bool) -> CameraModel:
    """The camera's model as trained without one photo, with a predictor of every name."""
    own, others = bench.held_out(camera, photo)
    model = bench.models[camera]
    for name in names:
        model = train(model, own, others, predictor=name, image_gain=not plain)
    return model


def rows(bench: Bench, camera: str, path: Path) -> Iterator[ManifestRow]:
    """A natural photo and all forgeries of it."""
    yield ManifestRow(path.stem, path.as_uri(), camera_id=camera, label=PRISTINE)
    folder = bench.data / "localization" / "camera_forgeries"
    with (folder / "forgeries.csv").open() as file:
        for row in csv.DictReader(file):
            if row["source"] == path.stem:
                yield ManifestRow(
                    row["image"],
                    (folder / row["image"]).as_uri(),
                    camera_id=camera,
                    label=FORGED,
                    mask_uri=(folder / row["mask"]).as_uri(),
                    source=row["kind"],
                )


def best_per_image(records: pa.Table) -> dict[tuple[Any, ...], float]:
    """Per variant: the F1 of each forged image at its own best threshold, averaged."""
    found = {}
    forged = records.filter(pc.equal(records["label"], FORGED))
    for variant, places in groups(forged, AXES).items():
        own = forged.take(pa.array(places))
        own = own.filter(pc.equal(own["status"], str(Status.OK)))
        tp, fp, fn = (own[name].to_numpy().astype(float) for name in ("tp", "fp", "fn"))
        f1 = (2 * tp / np.maximum(2 * tp + fp + fn, 1)).reshape(-1, THRESHOLDS.size)
        found[variant] = float(f1.max(axis=1).mean())
    return found


def table(records: pa.Table, cameras: list[str]) -> list[dict[str, Any]]:
    """One row per variant, as printed and stored."""
    summary, per_image = summarise(records), best_per_image(records)
    found = []
    for variant in summary["variants"]:
        axes = {axis: variant[axis] for axis in AXES}
        f1, alarms = variant["f1"], variant["false_alarms"]
        at = int(np.argmax(f1["mean"])) if f1["mean"] else None
        areas = alarms["area"]
        found.append(
            {
                **{axis: axes[axis] for axis in ("predictor", "strategy", "decision")},
                "images": f1["n"],
                "f1_max": f1["max"],
                "tau": f1["tau"],
                "interval": f1["interval"],
                "f1_best_per_image": per_image.get(tuple(axes.values())),
                "f1_per_camera": {c: f1["cameras"].get(c, {}).get("max") for c in cameras},
                "pristine": alarms["n"],
                "false_alarm_area": areas[at] if areas and at is not None else None,
                "seconds": variant["seconds"],
                "reasons": variant["reasons"],
            }
        )
    return found


def show(found: list[dict[str, Any]]) -> None:
    print("predictor strategy decision  n  max F1  95 %          tau   per image  false alarms  s")
    for row in found:
        low, high = row["interval"] or (float("nan"),) * 2
        alarms = row["false_alarm_area"]
        print(
            f"{row['predictor']:9} {row['strategy']:8} {row['decision']:8} {row['images']:3} "
            f"{row['f1_max'] or 0:6.3f}  {low:.3f}-{high:.3f}  {row['tau'] or 0:5.2f} "
            f"{row['f1_best_per_image'] or 0:8.3f}    "
            f"{float('nan') if alarms is None else alarms:8.4f}    {row['seconds'] or 0:6.2f}"
        )
        for reason, times in row["reasons"].items():
            print(f"    {times} not judged: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--plain", action="store_true", help="as in the papers: no gain, no loan")
    parser.add_argument("--predictors", nargs="+", default=["lse", "ffn"])
    parser.add_argument("--strategies", nargs="+", default=list(get_args(Strategy)))
    parser.add_argument("--decisions", nargs="+", default=["stm", "crf"])
    parser.add_argument("--cameras", nargs="+", help="forgeries of these cameras alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.data.resolve(), PrnuSettings(), not arguments.plain)
    wanted = arguments.cameras or list(bench.photos)
    about = machine("torch", "numpy", "pymaxflow", "scikit-image")
    records, start = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = LocalizationStudy(
            camera_models=folder,
            predictors=tuple(arguments.predictors),
            strategies=tuple(arguments.strategies),
            decisions=tuple(arguments.decisions),
        )
        for camera, paths in bench.photos.items():
            for path in paths if camera in wanted and len(paths) > 1 else ():
                model = blind(bench, camera, path.stem, arguments.predictors, arguments.plain)
                library = write(Path(folder) / path.stem, [model])
                for row in rows(bench, camera, path):
                    records.append(evaluate_image(study, "count", row, library))
                    print(f"{time.monotonic() - start:6.0f} s  {row.image_id}", flush=True)
    found = table(pa.concat_tables(records), wanted)
    show(found)
    name = f"camera_strategies{'_plain' if arguments.plain else ''}.json"
    RESULTS.mkdir(exist_ok=True)
    content = {
        "machine": about,
        "plain": arguments.plain,
        "cameras": wanted,
        "variants": found,
    }
    (RESULTS / name).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
