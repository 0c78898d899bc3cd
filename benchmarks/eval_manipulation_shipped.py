"""A network of 16 classes as the project ships one: trained on all photos, judged camera by camera.

    python -m benchmarks.eval_manipulation_shipped [--data ../shared/data] [--epochs 10]
        [--weights FILE]

Each camera in turn is left out: a network learns without it, and the detector examines that
camera's photos with it: as they are, and with a square inserted that was processed otherwise.
Reported are the accuracy on its patches, what is called different in untouched photos, and the F1
of the squares, at the best threshold and as decided. Writes
benchmarks/results/manipulation_shipped.json; ``--weights`` writes the network of all photos.
``--epochs 0`` leaves filters and codewords as the descriptor has them and fits the linear layer
alone. A quarter of an hour on one core for each network, with ten epochs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.eval_manipulation_maps import photos
from benchmarks.machine import machine
from forensics.decode import decode
from forensics.detectors import Resources, Subject
from forensics.evaluate.metrics import f1_best, f1_fixed
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

INSERTED = ("blur-0.75", "median-5", "resize-1.125", "blur-0.5", "noise-0.5")
SIDE = 320  # pixels, of an inserted square
STRIDE = 16
THINNING = 3
PLACES = {"camera": 48, "other": 3}  # in each photo
OTHERS = ("Kodak", "BSDS500")
RESULT = Path(__file__).parent / "results" / "manipulation_shipped.json"


def everything(data: Path) -> Iterator[Photo]:
    """Photos of the cameras, of Kodak and of BSDS500, the last two as a device each."""
    yield from photos(data)
    for path in sorted(data.glob("pristine/bsds500/**/*.jpg")):
        yield Photo(path.stem, OTHERS[1], decode(path.read_bytes()).pixels)


def patches_of(given: list[Photo]) -> Patches:
    parts = [
        cut([p for p in given if (p.device in OTHERS) == others], MANIPULATIONS, per_photo=count)
        for others, count in ((False, PLACES["camera"]), (True, PLACES["other"]))
    ]
    return Patches(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.devices for part in parts]),
    )


def learned(patches: Patches, epochs: int) -> ResidualNetwork:
    """The descriptor with a linear layer, then all of it fine-tuned."""
    network = ResidualNetwork(NetworkSettings())
    settings = TrainingSettings(epochs=epochs, thinning=THINNING)
    training = ManipulationTraining(network, patches, settings)
    for epoch in training.epochs():
        print(f"epoch {epoch.number}: loss {epoch.train_loss:.4f}", flush=True)
    training.finish()
    return network


def detector_of(network: ResidualNetwork) -> ManipulationDetector:
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(weights.to_bytes(network))
        file.flush()
        settings = ManipulationSettings(weights=file.name, stride=STRIDE)
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


def judged(detector: ManipulationDetector, photo: Photo, seed: int) -> Iterator[dict[str, Any]]:
    """One photo as it is, and with each insert."""
    own = examined(detector, photo.pixels).values
    yield {
        "photo": photo.image_id,
        "case": "as it is",
        "label": own["label"],
        "called_different": own["tampered_fraction"],
    }
    for label in INSERTED:
        changed, mask = inserted(photo.pixels, parse(label), seed)
        found = {m.kind: np.asarray(m.values) for m in examined(detector, changed).maps}
        probability, decision = (
            at_full_size(found[name], mask.shape).astype(np.float32)
            for name in ("probability", "decision")
        )
        yield {
            "photo": photo.image_id,
            "case": label,
            "f1_best": f1_best(probability, mask),
            "f1_decided": f1_fixed(decision, mask),
        }


def means(cases: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [case for case in cases if case["case"] == "as it is"]
    found: dict[str, Any] = {
        "as it is": {
            "photos": len(plain),
            "called_different": statistics.mean(case["called_different"] for case in plain),
            "with_a_region": sum(case["called_different"] > 0 for case in plain),
            "class_right": sum(case["label"] == "pristine" for case in plain),
        }
    }
    for label in INSERTED:
        own = [case for case in cases if case["case"] == label]
        found[label] = {
            name: statistics.mean(case[name] for case in own) for name in ("f1_best", "f1_decided")
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--epochs", type=int, default=10, help="of fine-tuning")
    parser.add_argument("--weights", type=Path, default=None, help="where to write the network")
    options = parser.parse_args()
    about = machine("torch", "numpy")
    given = list(everything(options.data))
    patches = patches_of(given)
    print(f"{len(given)} photos, {len(patches)} patches", flush=True)
    if options.weights is not None:
        options.weights.write_bytes(weights.to_bytes(learned(patches, options.epochs)))
    devices = sorted({photo.device for photo in given} - set(OTHERS))
    cases, accuracies = [], {}
    for device in devices:
        network = learned(patches.of(set(patches.devices) - {device}), options.epochs)
        own = patches.of({device})
        right = probabilities(network, own).argmax(1) == own.labels
        accuracies[device] = float(right.mean())
        detector = detector_of(network)
        for seed, photo in enumerate(p for p in given if p.device == device):
            cases += judged(detector, photo, seed)
        print(device, f"{accuracies[device]:.3f}", flush=True)
    report = {
        "what": "each camera left out in turn; the detector with default settings at stride 16",
        **about,
        "patches": len(patches),
        "epochs": options.epochs,
        "accuracy_of_16_classes": accuracies,
        "means": means(cases),
        "cases": cases,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({"accuracy": accuracies, **report["means"]}, indent=1))


if __name__ == "__main__":
    main()
