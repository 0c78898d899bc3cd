"""Train what the prnu detector expects of each camera, on pristine photos the camera took.

    python -m jobs.camera_model --manifest training.parquet --models models
    ray job submit --working-dir . -- python -m jobs.camera_model --config configs/camera_model.yaml

Needs the fingerprints of ``jobs.fingerprint``, and photos that are not part of them. Exit code 0:
every camera of the manifest is trained; 1: a camera is not, and the output says why; 2: bad input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import ray
from matplotlib.figure import Figure
from pydantic import Field

from forensics.config import Settings
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, UserError
from forensics.text import visible
from jobs.cameras import Skipped, sample, write_trained
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.fingerprint import by_camera
from jobs.progress import Progress
from jobs.tracking import Tracker, TrackingSettings, tracked


class CameraModelJob(Settings):
    """Camera models: from which pristine images, in which folder."""

    manifest: str = Field(description="URI of the manifest of pristine images, with camera_id")
    models: str = Field(description="URI of the folder of camera models")
    image_gain: bool = Field(
        True, description="one strength per image; off: the papers' plain method"
    )
    borrow: int = Field(
        16, ge=0, description="images lent to the training of all other cameras; 0: none"
    )
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()


def camera_model(job: CameraModelJob) -> int:
    """Train the camera models; returns the exit code."""
    cameras = by_camera(job.manifest)
    library = CameraLibrary(job.models)
    if unknown := [camera_id for camera_id in cameras if camera_id not in library]:
        raise UserError(
            f"{job.models} has no fingerprint of {', '.join(unknown)}; run jobs.fingerprint for "
            "them first, or leave their images out"
        )
    version = library.digest
    del library
    with (
        tracked("camera_model", job, job.tracking, job.models) as tracker,
        connected(job.pool),
        Progress(total=sum(map(len, cameras.values()))) as progress,
    ):
        results = []
        borrowed = borrow(cameras, job.borrow)
        borrowed_ids = {row.image_id for row in borrowed}
        kept: dict[str, Any] = {}

        def measure(row: ManifestRow) -> Any:
            """The sample of an image; those that several cameras use are made once."""
            if row.image_id not in borrowed_ids:
                return sample.remote(job.models, version, row, job.max_megapixels)
            if row.image_id not in kept:
                kept[row.image_id] = sample.remote(job.models, version, row, job.max_megapixels)
            return kept[row.image_id]

        for camera_id, rows in cameras.items():
            samples = [measure(row) for row in rows]
            for done in range(1, len(samples) + 1):
                ray.wait(samples, num_returns=done, fetch_local=False)
                progress.add(1)
            others = [measure(row) for row in borrowed if row.camera_id != camera_id]
            result = ray.get(
                write_trained.remote(
                    job.models,
                    camera_id,
                    len(samples),
                    *samples,
                    *others,
                    image_gain=job.image_gain,
                )
            )
            _report(tracker, result)
            results.append(result)
        tracker.text(json.dumps([_plain(result) for result in results], indent=1), "cameras.json")
        tracker.figure(_r2_figure(results), "adjusted_r2.png")
    return OK if all(result["images"] for result in results) else INCOMPLETE


def borrow(cameras: Mapping[str, Sequence[ManifestRow]], count: int) -> list[ManifestRow]:
    """Images that every other camera's training may use too: first each camera's first.

    They help where a camera has few images of its own.
    """
    turns = zip_longest(*cameras.values())
    return [row for turn in turns for row in turn if row is not None][:count]


def _report(tracker: Tracker, result: dict[str, Any]) -> None:
    camera_id, skipped = result["camera_id"], result["skipped"]
    print(f"{camera_id}: {result['images']} images, {len(skipped)} not used")
    for image in skipped:
        print(f"  {visible(image.image_id)}: {image.reason}")
    if "error" in result:
        print(f"  {result['error']}")
        return
    for window in result["windows"]:
        print(
            "  window {window:3d} px: adjusted R2 {adjusted_r2:.3f}, sigma0 {sigma0:.4f}, "
            "sigma1 {sigma1:.4f}, {blocks} blocks".format(**window)
        )
        names = ("adjusted_r2", "sigma0", "sigma1")
        values = {f"{camera_id}.{name}": window[name] for name in names}
        tracker.metrics(values, step=window["window"])
    for name, reason in result["left_out"].items():
        print(f"  left out {visible(name)}: {reason}")
    if not result["false_alarms"]:
        print("  false alarms were not counted: that takes two images with windows to spare")
        return
    worst = max(area for _, area in result["false_alarms"])
    tracker.metrics({f"{camera_id}.worst_false_alarm_area": worst})
    print(f"  worst false alarm on a pristine image: {worst:.1%} of its area")


def _r2_figure(results: list[dict[str, Any]]) -> Figure:
    """Adjusted R² over the window size, one line per camera."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for result in results:
        windows = result.get("windows", [])
        axes.plot(
            [w["window"] for w in windows],
            [w["adjusted_r2"] for w in windows],
            marker="o",
            label=result["camera_id"],
        )
    axes.set(xlabel="window side (pixels)", ylabel="adjusted R²", title="Correlation predictors")
    axes.grid(alpha=0.3)
    if results:
        axes.legend()
    return figure


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    skipped: list[Skipped] = result["skipped"]
    return {**result, "skipped": {s.image_id: s.reason for s in skipped}}


if __name__ == "__main__":
    run_job(camera_model, CameraModelJob, __doc__)
