"""Make forgeries with masks from pristine photos: what TruFor is trained with.

    python -m jobs.make_forgeries --manifest case/pristine.parquet --output case/forgeries
    python -m jobs.make_forgeries --config configs/make_forgeries.yaml --crop 512
    ray job submit --working-dir . -- \\
        python -m jobs.make_forgeries --config configs/make_forgeries.yaml

Every photo gives itself and one forgery of each kind, all compressed anew, so that compression
does not give them away. ``truth.parquet`` in the output names them with their masks; ``source`` is
the kind, ``split`` keeps all that comes from one photo on one side. A job that was killed continues
with the same command. Exit code 0: every photo was used; 1: some were not, and the output says
which; 2: bad input.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import ray
from pydantic import Field, model_validator

from forensics import manifest, storage
from forensics.config import Settings, digest
from forensics.lease import Lease
from forensics.records import ManifestRow, UserError
from forensics.synth.forgeries import Kind
from forensics.train.trufor.forge import ForgerySettings
from jobs.cameras import say_skipped
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, begun, run_job
from jobs.forging import Made, Order, Recipe, make_part
from jobs.progress import Progress
from jobs.tracking import TrackingSettings, tracked

TRUTH = "truth.parquet"

_NOTE = "forgeries.json"
_CANDIDATES = 32


class MakeForgeriesJob(Settings):
    """Forgeries: of which photos, into which folder, how."""

    manifest: str = Field(description="URI of the manifest of pristine photos")
    output: str = Field(description="URI of the folder for images, masks and truth.parquet")
    kinds: tuple[Kind, ...] = Field(
        ("splice", "copymove", "removal"), min_length=1, description="one of each per photo"
    )
    crop: int | None = Field(
        None, ge=32, description="larger photos are cut to this side, pixels [used whole]"
    )
    lowest_quality: int = Field(70, ge=1, le=100, description="of the JPEG files written")
    highest_quality: int = Field(100, ge=1, le=100, description="of the JPEG files written")
    validation: float = Field(0.1, ge=0, lt=1, description="part of the photos for validation")
    forgery: ForgerySettings = ForgerySettings()
    photos_per_task: int = Field(8, ge=1, description="photos of one Ray task")
    seed: int = Field(0, ge=0, description="of everything")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lowest_quality > self.highest_quality:
            raise ValueError(
                f"lowest_quality {self.lowest_quality} is above highest_quality "
                f"{self.highest_quality}"
            )
        return self


def make_forgeries(job: MakeForgeriesJob) -> int:
    """Make the forgeries; returns the exit code."""
    rows = sorted(manifest.read(job.manifest), key=lambda row: row.image_id)
    if len(rows) < 2:
        raise UserError(f"{job.manifest} has {len(rows)} photos; two are needed at least")
    if forged := [row.image_id for row in rows if row.label not in (None, "pristine")]:
        raise UserError(
            f"{job.manifest}: {len(forged)} images are not pristine (first: {forged[0]}); leave "
            "them out"
        )
    with Lease(job.output) as lease:
        _claim(job, rows)
        with (
            tracked("make_forgeries", job, job.tracking, job.output) as tracker,
            connected(job.pool),
        ):
            with begun():
                parts = _parts(job, rows)
            made = [row for part in parts for row in part.rows]
            skipped = [image for part in parts for image in part.skipped]
            if not made:
                raise UserError(f"no photo could be used; the first: {skipped[0].reason}")
            with begun():
                lease.check()
                manifest.write_manifest(made, storage.join(job.output, TRUTH))
            counts = Counter(str(row.source) for row in made)
            tracker.metrics({**counts, "skipped": len(skipped)})
    say_skipped(skipped)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    print(f"{len(made)} images ({kinds}) -> {storage.join(job.output, TRUTH)}")
    return INCOMPLETE if skipped else OK


def _claim(job: MakeForgeriesJob, rows: Sequence[ManifestRow]) -> None:
    """Bind the output to this work. Raises `UserError` where it holds other forgeries."""
    elsewhere = {"manifest", "output", "pool", "tracking", "max_megapixels"}
    wanted = digest(
        {
            "settings": job.model_dump(mode="json", exclude=elsewhere),
            "photos": [[row.image_id, row.uri, row.sha256] for row in rows],
        }
    )
    uri = storage.join(job.output, _NOTE)
    storage.write_if_absent(uri, json.dumps({"digest": wanted}).encode())
    if json.loads(storage.read(uri))["digest"] != wanted:
        raise UserError(
            f"{job.output} holds forgeries of other photos or with other settings; choose another "
            "output folder"
        )


def _parts(job: MakeForgeriesJob, rows: Sequence[ManifestRow]) -> list[Made]:
    recipe = Recipe(
        output=job.output,
        kinds=job.kinds,
        forgery=job.forgery,
        crop=job.crop,
        lowest_quality=job.lowest_quality,
        highest_quality=job.highest_quality,
        max_megapixels=job.max_megapixels,
        seed=job.seed,
    )
    orders = _orders(job, rows)
    size = job.photos_per_task
    waiting = {
        make_part.remote(recipe, number, orders[start : start + size]): number
        for number, start in enumerate(range(0, len(orders), size))
    }
    parts: dict[int, Made] = {}
    with Progress(total=len(rows), unit="photos") as progress:
        while waiting:
            [done], _ = ray.wait(list(waiting))
            part = parts[waiting.pop(done)] = ray.get(done)
            photos = len(part.rows) // (1 + len(job.kinds)) + len(part.skipped)
            progress.add(photos, {"skipped": len(part.skipped)})
    return [parts[number] for number in sorted(parts)]


def _orders(job: MakeForgeriesJob, rows: Sequence[ManifestRow]) -> list[Order]:
    """Each photo with its side of the split and a donor, of that side and of another camera where
    there is one."""
    rng = np.random.default_rng(job.seed)
    count = round(job.validation * len(rows))
    sides = np.array(["training"] * len(rows), dtype=object)
    sides[rng.permutation(len(rows))[:count]] = "validation"
    orders = []
    for number, row in enumerate(rows):
        # of some photos drawn at random, the first that fits best
        drawn = [i for i in rng.integers(len(rows), size=_CANDIDATES) if i != number]
        drawn.append((number + 1) % len(rows))
        donor = max(
            drawn,
            key=lambda i: (sides[i] == sides[number], rows[i].camera_id != row.camera_id),
        )
        orders.append(Order(row, rows[donor], sides[number]))
    return orders


if __name__ == "__main__":
    run_job(make_forgeries, MakeForgeriesJob, __doc__)
