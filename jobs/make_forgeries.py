"""Make forgeries with masks from pristine photos: what TruFor is trained with.

    python -m jobs.make_forgeries --manifest case/pristine.parquet --output case/forgeries
    python -m jobs.make_forgeries --config configs/make_forgeries.yaml --crop 512
    ray job submit --working-dir . -- \\
        python -m jobs.make_forgeries --config configs/make_forgeries.yaml

Every photo gives itself and one forgery of each kind, all compressed anew, so that compression
does not give them away; ``per_photo`` gives more, each of another part of the photo.
``truth.parquet`` in the output names them with their masks; ``source`` is the kind. ``split``
keeps all that comes from one photo on one side: it follows from the photo's image_id, whatever the
seed, and a splice takes from photos of its own side alone. The same command continues a job that
was killed, and tries again photos that could not be used. Exit code 0: every photo was used; 1:
some were not, and the output says which; 2: bad input.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import ray
from pydantic import Field, model_validator

from forensics import manifest, storage
from forensics.config import Settings, digest
from forensics.lease import Lease
from forensics.records import PRISTINE, ManifestRow, UserError
from forensics.synth.forgeries import Kind
from forensics.train.trufor.forge import ForgerySettings
from jobs.cameras import say_skipped
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, begun, run_job
from jobs.forgery_orders import orders_of
from jobs.forging import Made, Recipe, make_part
from jobs.progress import Progress
from jobs.tracking import TrackingSettings, tracked

TRUTH = "truth.parquet"

_NOTE = "forgeries.json"


class MakeForgeriesJob(Settings):
    """Forgeries: of which photos, into which folder, how."""

    manifest: str = Field(description="URI of the manifest of pristine photos")
    output: str = Field(description="URI of the folder for images, masks and truth.parquet")
    kinds: tuple[Kind, ...] = Field(
        ("splice", "copymove", "removal"), min_length=1, description="kinds of forgeries to make"
    )
    per_photo: int = Field(1, ge=1, description="forgeries of each kind per photo")
    crop: int | None = Field(
        None, ge=32, description="larger photos are cut to this side, pixels [used whole]"
    )
    lowest_quality: int = Field(70, ge=1, le=100, description="lowest JPEG quality written")
    highest_quality: int = Field(100, ge=1, le=100, description="highest JPEG quality written")
    validation: float = Field(
        0.1, gt=0, lt=1, description="part of the photos for validation, by their image_id"
    )
    forgery: ForgerySettings = ForgerySettings()
    photos_per_task: int = Field(8, ge=1, description="photos of one Ray task")
    seed: int = Field(0, ge=0, description="seed of all random choices but the split")
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

    @property
    def each_side(self) -> int:
        """Photos that training and validation need at least: a splice takes from another one."""
        return 2 if "splice" in self.kinds else 1


def make_forgeries(job: MakeForgeriesJob) -> int:
    """Make the forgeries; returns the exit code."""
    rows = sorted(manifest.read(job.manifest), key=lambda row: row.image_id)
    if len(rows) < 2 * job.each_side:
        raise UserError(
            f"{job.manifest} has {len(rows)} photos; {2 * job.each_side} are needed at least, half "
            "of them for validation"
        )
    if forged := [row.image_id for row in rows if row.label not in (None, PRISTINE)]:
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
            made = sorted((row for part in parts for row in part.rows), key=lambda r: r.image_id)
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
    wanted = digest(
        {"settings": _how(job), "photos": [[row.image_id, row.uri, row.sha256] for row in rows]}
    )
    uri = storage.join(job.output, _NOTE)
    storage.write_if_absent(uri, json.dumps({"digest": wanted}).encode())
    if json.loads(storage.read(uri))["digest"] != wanted:
        raise UserError(
            f"{job.output} holds forgeries of other photos or with other settings; choose another "
            "output folder"
        )


def _how(job: MakeForgeriesJob) -> dict[str, Any]:
    """The settings that what is made of a photo follows from."""
    elsewhere = {"manifest", "output", "pool", "tracking", "max_megapixels"}
    return job.model_dump(mode="json", exclude=elsewhere)


def _parts(job: MakeForgeriesJob, rows: Sequence[ManifestRow]) -> list[Made]:
    recipe = Recipe(
        output=job.output,
        key=digest(_how(job)),
        kinds=job.kinds,
        per_photo=job.per_photo,
        forgery=job.forgery,
        crop=job.crop,
        lowest_quality=job.lowest_quality,
        highest_quality=job.highest_quality,
        max_megapixels=job.max_megapixels,
        seed=job.seed,
    )
    orders = orders_of(rows, job.validation, job.each_side, job.per_photo, job.seed)
    chunks = [orders[i : i + job.photos_per_task] for i in range(0, len(rows), job.photos_per_task)]
    waiting = {
        make_part.remote(recipe, number, chunk): number for number, chunk in enumerate(chunks)
    }
    parts: dict[int, Made] = {}
    with Progress(total=len(rows), unit="photos") as progress:
        while waiting:
            [done], _ = ray.wait(list(waiting))
            number = waiting.pop(done)
            parts[number] = ray.get(done)
            progress.add(len(chunks[number]), {"skipped": len(parts[number].skipped)})
    return [parts[number] for number in sorted(parts)]


if __name__ == "__main__":
    run_job(make_forgeries, MakeForgeriesJob, __doc__)
