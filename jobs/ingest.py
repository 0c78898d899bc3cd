"""List the images under a prefix into a manifest, with the camera their EXIF data propose.

    python -m jobs.ingest --source photos/ --output case/archive.parquet
    python -m jobs.ingest --source s3://bucket/archive --output s3://bucket/archive.parquet
    python -m jobs.ingest --source photos/flat --output case/flat.parquet --camera_from folder

Needs no Ray: a listing is one stream. Exit code 0: the manifest is written; 2: it is not.
"""

from __future__ import annotations

from pydantic import Field

from forensics.config import Settings
from forensics.ingest import IMAGE_SUFFIXES, CameraFrom, IngestCounts
from forensics.ingest import ingest as write_listing
from forensics.text import visible
from jobs.entry import OK, run_job
from jobs.progress import Progress

_EXAMPLES = 10


class IngestJob(Settings):
    """A listing: of which prefix, into which manifest."""

    source: str = Field(description="URI of the folder or prefix with the images")
    output: str = Field(description="URI of the manifest to write (Parquet)")
    camera_from: CameraFrom = Field(
        "exif", description="camera_id from exif data, from the image's folder, or none"
    )
    suffixes: tuple[str, ...] = Field(IMAGE_SUFFIXES, description="file name endings of images")
    threads: int = Field(16, ge=1, description="files whose header is read at a time")


def ingest(job: IngestJob) -> int:
    """Write the manifest and say what it holds; returns the exit code."""
    with Progress() as progress:

        def count(counts: IngestCounts) -> None:
            progress.add(counts.images - progress.done)

        counts = write_listing(
            job.source,
            job.output,
            suffixes=job.suffixes,
            camera_from=job.camera_from,
            threads=job.threads,
            progress=count,
        )
    print(f"{counts.images} images, {counts.image_bytes / 1e6:.1f} MB -> {job.output}")
    if counts.others:
        kinds = ", ".join(
            f"{visible(name) or 'none'} {n}" for name, n in counts.other_suffixes.most_common(8)
        )
        print(f"{counts.others} other files left out (endings: {kinds})")
    if counts.unreadable:
        print(f"{counts.unreadable} images have no header that can be read; their rows are there")
    for camera_id, images in counts.cameras.most_common(_EXAMPLES):
        print(f"  {camera_id}: {images} images")
    if len(counts.cameras) > _EXAMPLES:
        print(f"  … and {len(counts.cameras) - _EXAMPLES} more cameras")
    if counts.without_camera and job.camera_from != "none":
        print(f"{counts.without_camera} images name no camera")
    if counts.without_serial:
        print(
            f"warning: {counts.without_serial} images give no serial number, so their camera_id "
            "names a model and not one device; do not make fingerprints from it"
        )
    return OK


if __name__ == "__main__":
    run_job(ingest, IngestJob, __doc__)
