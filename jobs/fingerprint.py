"""Make one fingerprint per camera from reference images, flat fields at best.

    python -m jobs.fingerprint --manifest reference.parquet --output models
    python -m jobs.fingerprint --manifest more.parquet --output models --existing extend
    ray job submit --working-dir . -- python -m jobs.fingerprint --config configs/fingerprint.yaml

The manifest's ``camera_id`` says which images belong together. Predictors that were trained on
an earlier fingerprint go with it and have to be trained again. Exit code 0: every camera has its
fingerprint; 1: a camera has none, and the output says why; 2: bad input, nothing was done.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import ray
from pydantic import Field

from forensics import manifest, storage
from forensics.config import Settings
from forensics.prnu.camera_model import CARD, UsedImage, read_card
from forensics.records import ManifestRow, UserError
from forensics.text import visible
from jobs.cameras import Sums, accumulate, merge, read_accumulator, tree, write_fingerprint
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.progress import Progress
from jobs.tracking import Tracker, TrackingSettings, tracked

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class FingerprintJob(Settings):
    """Fingerprints: from which images, to which folder of camera models."""

    manifest: str = Field(description="URI of the manifest of reference images, with camera_id")
    output: str = Field(description="URI of the folder of camera models")
    existing: Literal["refuse", "extend", "replace"] = Field(
        "refuse", description="what to do with a camera that has a fingerprint already"
    )
    sigma: float = Field(5.0, gt=0, description="noise standard deviation of the residual filter")
    levels: int = Field(4, ge=1, description="wavelet levels of the residual filter")
    images_per_task: int = Field(4, ge=1, description="images summed by one Ray task")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()


def fingerprint(job: FingerprintJob) -> int:
    """Make the fingerprints; returns the exit code."""
    cameras = by_camera(job.manifest)
    earlier = {camera_id: _earlier(job, camera_id) for camera_id in cameras}
    with (
        tracked("fingerprint", job, job.tracking, job.output) as tracker,
        connected(job.pool),
        Progress(total=sum(map(len, cameras.values()))) as progress,
    ):
        made: list[dict[str, Any]] = []
        for camera_id, rows in cameras.items():
            result = _make(job, camera_id, rows, earlier[camera_id], progress)
            _report(tracker, result, step=len(made))
            made.append(result)
        tracker.text(json.dumps([_plain(result) for result in made], indent=1), "cameras.json")
    return OK if all(result["images"] for result in made) else INCOMPLETE


def by_camera(uri: str) -> dict[str, list[ManifestRow]]:
    """Manifest rows by camera, both in order. Raises `UserError` for rows that name no camera."""
    cameras: dict[str, list[ManifestRow]] = defaultdict(list)
    nameless: list[str] = []
    for row in manifest.read(uri):
        if row.camera_id is None:
            nameless.append(row.image_id)
        elif SAFE_ID.fullmatch(row.camera_id) is None:
            raise UserError(
                f"{uri}: camera_id {row.camera_id!r} (image {visible(row.image_id)}) cannot name a "
                "folder; use letters, digits, '.', '_' and '-'"
            )
        else:
            cameras[row.camera_id].append(row)
    if nameless:
        raise UserError(
            f"{uri}: {len(nameless)} images have no camera_id (first: {visible(nameless[0])}); "
            "give them one or leave them out"
        )
    return {name: sorted(cameras[name], key=lambda row: row.image_id) for name in sorted(cameras)}


def _earlier(job: FingerprintJob, camera_id: str) -> tuple[UsedImage, ...]:
    """Images in the fingerprint that is to be extended; empty where a new one is made."""
    folder = storage.join(job.output, camera_id)
    if job.existing == "replace" or not storage.exists(storage.join(folder, CARD)):
        return ()
    if job.existing == "refuse":
        raise UserError(
            f"{folder} holds a fingerprint already; set existing to extend (add these images to "
            "it) or to replace"
        )
    card = read_card(storage.read(storage.join(folder, CARD)))
    made, wanted = card["residual"], {"sigma": job.sigma, "levels": job.levels}
    if made != wanted:
        raise UserError(
            f"{folder} was made with the residual filter {made}, not {wanted}; extend it with the "
            "same settings, or replace it"
        )
    return tuple(UsedImage(**image) for image in card["reference"])


def _make(
    job: FingerprintJob,
    camera_id: str,
    rows: list[ManifestRow],
    earlier: tuple[UsedImage, ...],
    progress: Progress,
) -> dict[str, Any]:
    folder = storage.join(job.output, camera_id)
    known = {image.sha256 for image in earlier}
    chunks = [
        rows[start : start + job.images_per_task]
        for start in range(0, len(rows), job.images_per_task)
    ]
    parts = [
        accumulate.remote(chunk, job.sigma, job.levels, job.max_megapixels, known)
        for chunk in chunks
    ]
    waiting = dict(zip(parts, chunks, strict=True))
    size = None
    if earlier:
        sums = read_accumulator(folder)
        size = sums.size
        parts.append(ray.put(Sums({size: (sums, earlier)} if size else {})))
    root = tree(parts, merge.remote)
    del parts
    for part in _as_done(list(waiting)):
        progress.add(len(waiting.pop(part)))
        del part  # the sums are freed once they are merged
    result: dict[str, Any] = ray.get(write_fingerprint.remote(folder, camera_id, root, size))
    return result


def _as_done(refs: list[Any]) -> Iterator[Any]:
    while refs:
        [done], refs = ray.wait(refs, num_returns=1, fetch_local=False)
        yield done


def _report(tracker: Tracker, result: dict[str, Any], step: int) -> None:
    skipped = result["skipped"]
    tracker.metrics({"images.used": result["images"], "images.skipped": len(skipped)}, step)
    size = f", {result['width']}x{result['height']}" if result["images"] else ""
    print(f"{result['camera_id']}: {result['images']} images{size}, {len(skipped)} not used")
    for image in skipped:
        print(f"  {visible(image.image_id)}: {image.reason}")
    if result.get("train_again"):
        print(
            "  its predictors belonged to the earlier fingerprint and are gone: run "
            "jobs.camera_model (and jobs.train_predictor, where it was used) again"
        )


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "skipped": {s.image_id: s.reason for s in result["skipped"]}}


if __name__ == "__main__":
    run_job(fingerprint, FingerprintJob, __doc__)
