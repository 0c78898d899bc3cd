"""Ray tasks that make forgeries: a few photos in, images, masks and their truth out."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import ray
from PIL import Image

from forensics import storage
from forensics.evidence import open_image
from forensics.records import FORGED, PRISTINE, ManifestRow, Rgb, explain
from forensics.synth.forgeries import Kind, Mask
from forensics.train.trufor.forge import ForgerySettings, manipulate
from jobs.cameras import Skipped
from jobs.forgery_orders import Order

IMAGES, MASKS, PARTS = "image", "masks", "parts"  # folders of the output


@dataclass(frozen=True)
class Recipe:
    """How all forgeries of a job are made."""

    output: str  # URI
    key: str  # digest of all settings that forgeries follow from: no two recipes share file names
    kinds: tuple[Kind, ...]
    per_photo: int  # forgeries of each kind
    forgery: ForgerySettings
    crop: int | None  # pixels
    lowest_quality: int  # of JPEG
    highest_quality: int
    max_megapixels: float
    seed: int


@dataclass(frozen=True)
class Made:
    """What became of the photos of a part."""

    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def make_part(recipe: Recipe, number: int, orders: Sequence[Order]) -> Made:
    """Make the forgeries of some photos, but for those that were made before; the note of what was
    made is written last."""
    note = storage.join(recipe.output, PARTS, f"part-{number:05d}.json")
    try:
        before = _read(storage.read(note))
    except storage.NotFound:
        before = None
    rows = [] if before is None else list(before.rows)
    # what could not be read then may be there now
    left = None if before is None else {image.image_id for image in before.skipped}
    skipped: list[Skipped] = []
    for order in orders:
        if left is not None and order.row.image_id not in left:
            continue
        try:
            rows += _make(recipe, order)
        except Exception as error:
            gone = isinstance(error, storage.NotFound | storage.AccessDenied)
            if isinstance(error, storage.StorageError) and not gone:
                raise  # not the photo's fault
            skipped.append(Skipped(order.row.image_id, explain(error)))
    made = Made(tuple(rows), tuple(skipped))
    if made != before:
        storage.write(note, json.dumps(asdict(made)).encode())
    return made


def _make(recipe: Recipe, order: Order) -> list[ManifestRow]:
    """The photo as it is and forged in every way, all compressed alike; as often as is wanted."""
    whole = _decoded(recipe, order.row)
    rows = []
    for take in range(recipe.per_photo):
        photo = _part(recipe, whole, _generator(recipe, order, take, PRISTINE))
        made: list[tuple[str, Rgb, Mask | None]] = [(PRISTINE, photo, None)]
        for kind in recipe.kinds:
            rng = _generator(recipe, order, take, kind)
            donor = None
            if kind == "splice":
                donor = _part(recipe, _decoded(recipe, order.donors[take]), rng)
            forgery = manipulate(kind, photo, rng, recipe.forgery, donor)
            made.append((kind, forgery.pixels, forgery.mask))
        rows += [_store(recipe, order, take, *image) for image in made]
    return rows


def _generator(recipe: Recipe, order: Order, take: int, what: str) -> np.random.Generator:
    name = hashlib.sha256(f"{order.row.image_id}\0{take}\0{what}".encode()).digest()
    return np.random.default_rng([recipe.seed, *np.frombuffer(name, np.uint32)])


def _name(recipe: Recipe, order: Order, take: int) -> str:
    """Of files, and of images wherever manifests are put together: no other photo, take or recipe
    gives the same."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", order.row.image_id)[-60:]
    whole = f"{recipe.key}\0{order.row.image_id}\0{take}"
    return f"{readable}-{take + 1}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def _decoded(recipe: Recipe, row: ManifestRow) -> Rgb:
    return open_image(row, recipe.max_megapixels)[1].pixels


def _part(recipe: Recipe, rgb: Rgb, rng: np.random.Generator) -> Rgb:
    """A photo, or a part of it that is no larger than the recipe wants."""
    if recipe.crop is None:
        return rgb
    y, x = (int(rng.integers(max(0, length - recipe.crop) + 1)) for length in rgb.shape[:2])
    return np.ascontiguousarray(rgb[y : y + recipe.crop, x : x + recipe.crop])


def _store(
    recipe: Recipe, order: Order, take: int, kind: str, pixels: Rgb, mask: Mask | None
) -> ManifestRow:
    """The row of one image, whose URIs start at the output."""
    rng = _generator(recipe, order, take, f"{kind} quality")
    quality = int(rng.integers(recipe.lowest_quality, recipe.highest_quality + 1))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    data, name = file.getvalue(), f"{_name(recipe, order, take)}-{kind}"
    row = ManifestRow(
        image_id=name,
        uri=f"{IMAGES}/{name}.jpg",
        camera_id=order.row.camera_id,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        split=order.split,
        label=PRISTINE if mask is None else FORGED,
        source=kind,
    )
    storage.write(storage.join(recipe.output, row.uri), data)
    if mask is None:
        return row
    picture = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(picture, "PNG")
    uri = f"{MASKS}/{name}.png"
    storage.write(storage.join(recipe.output, uri), picture.getvalue())
    return replace(row, mask_uri=uri)


def _read(note: bytes) -> Made:
    found = json.loads(note)
    return Made(
        tuple(ManifestRow(**row) for row in found["rows"]),
        tuple(Skipped(**image) for image in found["skipped"]),
    )
