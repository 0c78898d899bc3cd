"""Networks of 16 classes as the project ships one, judged on cameras they did not learn from.

    python -m benchmarks.eval_manipulation_shipped [--data ../shared/data] [--networks FOLDER]
        [--recipes linear fine-tuned]

Two recipes: the linear layer alone fitted, filters and codewords as the descriptor has them; and
all of it fine-tuned from there. Pairs of cameras are left out in turn: a network learns without
them, and the detector examines their photos with it: as they are, and with a square inserted that
was processed otherwise. Reported are the accuracy on their patches, what is called different in
untouched photos, the F1 of the squares at the best threshold and as decided at several, and whether
the part that was decided got the right name. Then a network learns from all photos by each recipe.
Writes benchmarks/results/manipulation_shipped.json, with the digests of these; ``--networks`` keeps
all networks. Of one core, the first recipe takes some ten minutes, the second twenty.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.eval_manipulation_maps import middle, photos
from benchmarks.machine import machine
from forensics.decode import decode
from forensics.detectors import Resources, Subject
from forensics.evaluate.metrics import f1_best, f1_fixed
from forensics.localize.threshold import stm
from forensics.manipulation import weights
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.detector import ManipulationDetector, ManipulationSettings
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.operations import MANIPULATIONS, Manipulation, parse
from forensics.records import Finding, Image, ManifestRow, Rgb
from forensics.train.manipulation.patches import Patches, Photo, cut
from forensics.train.manipulation.training import (
    ManipulationTraining,
    TrainingSettings,
    probabilities,
)

RECIPES = {
    "linear": TrainingSettings(epochs=0),
    "fine-tuned": TrainingSettings(epochs=4, thinning=3),
}
LEFT_OUT = (  # the first are those of eval_manipulation_maps
    ("LG_D605", "Nikon_D70_0"),
    ("Nikon_D200_1", "VISION_D08_GalaxyTab3"),
    ("Nikon_D70_1", "VISION_D09_iPhone4"),
)
INSERTED = ("blur-0.75", "median-5", "resize-1.125", "blur-0.5", "noise-0.5")
EXAMINED = 1024  # pixels of a side, the middle of a photo
SIDE = 320  # pixels, of an inserted square
STRIDE = 16
TAUS = (0.5, 0.6, 0.7, 0.8, 0.9)
PLACES = {"camera": 24, "other": 2}  # in each photo
OTHERS = ("Kodak", "BSDS500")
RESULT = Path(__file__).parent / "results" / "manipulation_shipped.json"


def everything(data: Path) -> Iterator[Photo]:
    """Photos of the cameras, of Kodak and of BSDS500, the last two as a device each."""
    yield from photos(data)
    for path in sorted(data.glob("pristine/bsds500/**/*.jpg")):
        yield Photo(path.stem, OTHERS[1], decode(path.read_bytes()).pixels)


def patches_of(given: list[Photo]) -> Patches:
    return Patches.joined(
        [
            cut([p for p in given if (p.device in OTHERS) == others], MANIPULATIONS, per_photo=n)
            for others, n in ((False, PLACES["camera"]), (True, PLACES["other"]))
        ]
    )


def learned(patches: Patches, settings: TrainingSettings) -> ResidualNetwork:
    network = ResidualNetwork(NetworkSettings())
    training = ManipulationTraining(network, patches, settings)
    for epoch in training.epochs():
        print(f"epoch {epoch.number}: loss {epoch.train_loss:.4f}", flush=True)
    training.finish()
    return network


def kept(network: ResidualNetwork, path: Path) -> Path:
    path.write_bytes(weights.to_bytes(network))
    return path


def detector_of(file: Path) -> ManipulationDetector:
    settings = ManipulationSettings(weights=str(file), stride=STRIDE)
    return ManipulationDetector(settings, Resources(torch.device("cpu")))


def inserted(rgb: Rgb, manipulation: Manipulation, seed: int) -> tuple[Rgb, NDArray[np.bool_]]:
    """A square of the photo replaced by one of the manipulated photo, at the same corner."""
    rng = np.random.default_rng(seed)
    y, x = (int(rng.integers(100, side - SIDE - 100)) for side in rgb.shape[:2])
    changed, mask = rgb.copy(), np.zeros(rgb.shape[:2], np.bool_)
    here = slice(y, y + SIDE), slice(x, x + SIDE)
    changed[here] = manipulation.apply(rgb, [seed])[here]
    mask[here] = True
    return changed, mask


def examined(detector: ManipulationDetector, rgb: Rgb) -> Finding:
    return detector.examine(Subject(ManifestRow("photo", "photo.png"), Image(rgb, "PNG")))


def at_full_size(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return values.repeat(STRIDE, 0).repeat(STRIDE, 1)[: shape[0], : shape[1]]


def decided(probability: NDArray[Any]) -> dict[float, NDArray[np.bool_]]:
    """By threshold, as the detector decides."""
    own = ManipulationSettings()
    return {tau: stm(probability, STRIDE, tau, own.min_region_px, own.dilation_px) for tau in TAUS}


def judged(detector: ManipulationDetector, photo: Photo, seed: int) -> Iterator[dict[str, Any]]:
    """The middle of a photo as it is, and with each insert."""
    pixels = middle(photo.pixels, EXAMINED)
    finding = examined(detector, pixels)
    areas = decided(np.asarray(finding.maps[0].values))
    yield {
        "photo": photo.image_id,
        "case": "as it is",
        "label": finding.values["label"],
        "called_different": {str(tau): float(area.mean()) for tau, area in areas.items()},
    }
    for label in INSERTED:
        changed, mask = inserted(pixels, parse(label), seed)
        finding = examined(detector, changed)
        probability = np.asarray(finding.maps[0].values)
        yield {
            "photo": photo.image_id,
            "case": label,
            "f1_best": f1_best(at_full_size(probability, mask.shape), mask),
            "f1_decided": {
                str(tau): f1_fixed(at_full_size(area, mask.shape).astype(np.float32), mask)
                for tau, area in decided(probability).items()
            },
            "part_label": finding.values["part_label"],
        }


def means(cases: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [case for case in cases if case["case"] == "as it is"]
    areas = {str(tau): [case["called_different"][str(tau)] for case in plain] for tau in TAUS}
    found: dict[str, Any] = {
        "as it is": {
            "photos": len(plain),
            "called_different": {tau: statistics.mean(area) for tau, area in areas.items()},
            "with_a_region": {tau: sum(a > 0 for a in area) for tau, area in areas.items()},
            "class_right": sum(case["label"] == "pristine" for case in plain),
        }
    }
    for label in INSERTED:
        own = [case for case in cases if case["case"] == label]
        named = [case["part_label"] for case in own if case["part_label"] is not None]
        found[label] = {
            "f1_best": statistics.mean(case["f1_best"] for case in own),
            "f1_decided": {
                str(tau): statistics.mean(case["f1_decided"][str(tau)] for case in own)
                for tau in TAUS
            },
            "parts": len(named),
            "parts_of_its_kind": sum(name.split("-")[0] == label.split("-")[0] for name in named),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", type=Path, default=None, help="folder to keep them in")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    options = parser.parse_args()
    recipes = {name: RECIPES[name] for name in options.recipes}
    about = machine("torch", "numpy")
    given = list(everything(options.data))
    patches = patches_of(given)
    print(f"{len(given)} photos, {len(patches)} patches", flush=True)
    cases: dict[str, list[dict[str, Any]]] = defaultdict(list)
    accuracies: dict[str, dict[str, float]] = defaultdict(dict)
    digests = {}
    with TemporaryDirectory() as temporary:
        folder = options.networks or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for devices in (*LEFT_OUT, ()):
            rest = patches.of(set(patches.devices) - set(devices))
            for recipe, settings in recipes.items():
                network = learned(rest, settings)
                without = f"without-{'-'.join(devices)}" if devices else "all"
                file = kept(network, folder / f"{recipe}-{without}.safetensors")
                if not devices:
                    digests[recipe] = hashlib.sha256(file.read_bytes()).hexdigest()
                    continue
                for device in devices:
                    own = patches.of({device})
                    right = probabilities(network, own).argmax(1) == own.labels
                    accuracies[recipe][device] = float(right.mean())
                    print(recipe, device, f"{right.mean():.3f}", flush=True)
                detector = detector_of(file)
                for seed, photo in enumerate(p for p in given if p.device in devices):
                    cases[recipe] += judged(detector, photo, seed)
    report = {
        "what": "pairs of cameras left out in turn; the detector at stride 16",
        **about,
        "patches": len(patches),
        "places_in_a_photo": PLACES,
        "left_out": LEFT_OUT,
        "recipes": {
            recipe: {
                "training": settings.model_dump(),
                "sha256_of_all_photos": digests[recipe],
                "accuracy_of_16_classes": accuracies[recipe],
                "means": means(cases[recipe]),
                "cases": cases[recipe],
            }
            for recipe, settings in recipes.items()
        },
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: own["means"] for name, own in report["recipes"].items()}, indent=1))


if __name__ == "__main__":
    main()
