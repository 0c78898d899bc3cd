"""Fig. 6 of the residual-CNN paper: heat maps of a blurred splice and of a resized copy-move.

    python -m benchmarks.eval_manipulation_maps [--data ../shared/data] [--figure maps.png]
        [--weights FILE]

On photos of devices not trained on: a region of another photo, blurred by 0.5, and a region of the
photo itself, resized by 1.125, are put in place. For either manipulation SRM+SVM and the residual
CNN learn from patches of all other devices (binary tasks); both are run over the forged photos and
judged by the F1 of their maps, at the best threshold and at that of their classes, and by the AUC.
The detector is judged too, by its map, with the weights of a network of all classes that did not
learn from the tested devices: ``eval_manipulation_shipped`` keeps one. Without ``--weights`` it has
the network of the project, which did learn from these photos. The untouched photos show false
alarms. Writes benchmarks/results/manipulation_maps.json; the figure shows photos, so it is not kept
there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.machine import machine
from forensics.decode import decode
from forensics.detectors import Resources, Subject
from forensics.evaluate.metrics import auc, f1_best, f1_fixed
from forensics.manipulation import weights
from forensics.manipulation.base import GREEN, NetworkSettings
from forensics.manipulation.dense import dense_scores
from forensics.manipulation.detector import ManipulationDetector, ManipulationSettings
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.operations import PRISTINE, Manipulation
from forensics.manipulation.svm import ResidualSVM
from forensics.manipulation.windows import Axis, to_cells
from forensics.records import Image, ManifestRow, Rgb
from forensics.synth.forgeries import paste, random_region
from forensics.train.manipulation.patches import Patches, Photo, cut
from forensics.train.manipulation.training import ManipulationTraining, TrainingSettings

BLUR, RESIZE = Manipulation("blur", 0.5), Manipulation("resize", 1.125)
TESTED = ("LG_D605", "Nikon_D70_0")
WINDOW, STRIDE = 128, 8
AREA = (0.06, 0.1)  # of the forged region, part of the photo
LARGEST = 1536  # pixels; the middle of larger photos is taken
RESULT = Path(__file__).parent / "results" / "manipulation_maps.json"

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class Forged:
    """A photo and what was made of it; no mask where nothing was."""

    name: str
    manipulation: Manipulation
    original: Rgb
    pixels: Rgb
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Judge:
    """A method: heat per cell of a photo, and from where on it says manipulated."""

    heat: Callable[[Rgb], Heat]
    threshold: float


def photos(data: Path) -> Iterator[Photo]:
    """Those of the cameras, and Kodak's as one more device."""
    for path in sorted(data.glob("cameras/*/natural/*")):
        yield Photo(path.stem, path.parent.parent.name, middle(decode(path.read_bytes()).pixels))
    for path in sorted(data.glob("pristine/kodak24/**/*.png")):
        yield Photo(path.stem, "Kodak", decode(path.read_bytes()).pixels)


def middle(rgb: Rgb, largest: int = LARGEST) -> Rgb:
    """The middle part, from a corner that blocks of JPEG start at."""
    top, left = (max(side - largest, 0) // 32 * 16 for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + largest, left : left + largest])


def forged(photo: Photo, content: Rgb, kind: str, manipulation: Manipulation, seed: int) -> Forged:
    """A random window of manipulated content in place of a random region of the photo."""
    rng = np.random.default_rng(seed)
    height, width = photo.pixels.shape[:2]
    mask = random_region(height, width, AREA, rng)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    y, x = (
        int(rng.integers(side - needed + 1))
        for side, needed in zip(content.shape, (height, width), strict=False)
    )
    source = photo.pixels.copy()
    source[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = content[
        y : y + height, x : x + width
    ]
    name = f"{photo.image_id}, {kind}"
    return Forged(name, manipulation, photo.pixels, paste(photo.pixels, source, mask, 0), mask)


def cases(tested: Sequence[Photo]) -> Iterator[Forged]:
    """Both forgeries of every photo, and the photo as it is for both manipulations."""
    for seed, photo in enumerate(tested):
        donor = tested[(seed + 1) % len(tested)]
        yield forged(photo, BLUR.apply(donor.pixels), "splice", BLUR, seed)
        yield forged(photo, RESIZE.apply(photo.pixels), "copy-move", RESIZE, seed)
        for manipulation in (BLUR, RESIZE):
            yield Forged(
                f"{photo.image_id}, as it is", manipulation, photo.pixels, photo.pixels, None
            )


def trained(
    patches: Patches, manipulation: Manipulation, settings: TrainingSettings
) -> dict[str, Judge]:
    """SRM+SVM and the network for one manipulation."""
    svm = ResidualSVM().fit(patches.pixels, patches.labels, patches.devices)
    shape = NetworkSettings(classes=(PRISTINE, manipulation.label), window=WINDOW)
    training = ManipulationTraining(ResidualNetwork(shape), patches, settings)
    for epoch in training.epochs():
        print(
            f"{manipulation.label}: epoch {epoch.number}, loss {epoch.train_loss:.4f}", flush=True
        )
    network = training.finish()
    assert isinstance(network, ResidualNetwork)

    def of_svm(rgb: Rgb) -> Heat:
        plane = torch.from_numpy(np.ascontiguousarray(rgb[..., GREEN]))
        return on_cells(rgb, torch.as_tensor(svm.predict_dense(plane, WINDOW, STRIDE))[..., 0])

    def of_network(rgb: Rgb) -> Heat:
        plane = torch.from_numpy(np.ascontiguousarray(rgb[..., GREEN]))
        return on_cells(rgb, dense_scores(network, plane, STRIDE).softmax(-1)[..., 1])

    return {"SRM+SVM": Judge(of_svm, 0.0), "residual CNN": Judge(of_network, 0.5)}


def on_cells(rgb: Rgb, windows: torch.Tensor) -> Heat:
    rows, columns = (Axis.of(side, WINDOW, STRIDE) for side in rgb.shape[:2])
    heat: Heat = to_cells(windows, rows, columns).numpy().astype(np.float32)
    return heat


def of_the_detector(settings: ManipulationSettings) -> Judge:
    """Its map, and its threshold."""
    detector = ManipulationDetector(settings, Resources(torch.device("cpu")))

    def heat(rgb: Rgb) -> Heat:
        finding = detector.examine(Subject(ManifestRow("photo", "photo.png"), Image(rgb, "PNG")))
        return np.asarray(finding.maps[0].values)

    return Judge(heat, settings.tau)


def measures(heat: Heat, judge: Judge, case: Forged) -> dict[str, float]:
    """Of the map at full size; on a photo as it is, how much of it is called manipulated."""
    height, width = case.pixels.shape[:2]
    full = heat.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width]
    if case.mask is None:
        return {"false_alarm_area": float((full > judge.threshold).mean())}
    return {
        "f1_best": f1_best(full, case.mask),
        "f1_fixed": f1_fixed(full, case.mask, judge.threshold),
        "auc": auc(full, case.mask),
    }


def figure(shown: Sequence[tuple[Forged, Mapping[str, Heat]]]) -> Figure:
    """Original, forged photo, heat maps: a row per case."""
    names = list(shown[0][1])
    sheet = Figure(figsize=(2.4 * (2 + len(names)), 2.5 * len(shown)), layout="constrained")
    grid = sheet.subplots(len(shown), 2 + len(names), squeeze=False)
    for row, (case, heats) in zip(grid, shown, strict=True):
        for axes, picture, title in zip(
            row, (case.original, case.pixels), (case.name, "forged"), strict=False
        ):
            axes.imshow(picture[::2, ::2])
            axes.set_title(title, fontsize=7)
        if case.mask is not None:
            row[1].contour(case.mask[::2, ::2], levels=[0.5], colors="red", linewidths=0.8)
        for axes, name in zip(row[2:], names, strict=True):
            axes.imshow(heats[name], cmap="jet")
            axes.set_title(name, fontsize=8)
        for axes in row:
            axes.set_axis_off()
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--figure", type=Path, default=None)
    parser.add_argument("--weights", default=None, help="the detector's network")
    parser.add_argument("--tested", nargs="+", default=TESTED, help="devices")
    parser.add_argument("--per_photo", type=int, default=48, help="patches to train on")
    parser.add_argument("--epochs", type=int, default=TrainingSettings().epochs)
    parser.add_argument("--thinning", type=int, default=TrainingSettings().thinning)
    options = parser.parse_args()
    settings = TrainingSettings(epochs=options.epochs, thinning=options.thinning)
    own_map = ManipulationSettings(weights=options.weights, stride=STRIDE)
    about = machine("torch", "numpy", "scikit-learn")
    everything = list(photos(options.data))
    tested = [photo for photo in everything if photo.device in options.tested]
    others = [photo for photo in everything if photo.device not in options.tested]
    judges: dict[str, dict[str, Judge]] = {}
    seconds = {}
    for manipulation in (BLUR, RESIZE):
        patches = cut(others, [manipulation], WINDOW, options.per_photo)
        start = time.process_time()
        judges[manipulation.label] = trained(patches, manipulation, settings)
        seconds[manipulation.label] = {
            "patches": len(patches), "processor_s": time.process_time() - start
        }  # fmt: skip
        judges[manipulation.label]["detector"] = of_the_detector(own_map)
    found: list[dict[str, Any]] = []
    shown = []
    for case in cases(tested):
        own = judges[case.manipulation.label]
        heats = {name: judge.heat(case.pixels) for name, judge in own.items()}
        result = {name: measures(heats[name], judge, case) for name, judge in own.items()}
        found.append({"case": case.name, "manipulation": case.manipulation.label, **result})
        print(json.dumps(found[-1]), flush=True)
        if case.mask is not None:
            shown.append((case, heats))
    report = {
        "what": "maps of one blurred splice and one resized copy-move per photo",
        **about,
        "tested": list(options.tested),
        "detector_weights": weights.load(options.weights).digest,
        "training": {**settings.model_dump(), **seconds},
        "means": means(found),
        "cases": found,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["means"], indent=1))
    if options.figure is not None:
        figure(shown).savefig(options.figure, dpi=110)


def means(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Per manipulation and method, the mean of every measure over the photos."""
    collected: dict[str, dict[str, dict[str, list[float]]]] = {}
    for case in found:
        for name in ("SRM+SVM", "residual CNN", "detector"):
            own = collected.setdefault(case["manipulation"], {}).setdefault(name, {})
            for measure, value in case[name].items():
                own.setdefault(measure, []).append(value)
    return {
        label: {
            name: {measure: statistics.mean(values) for measure, values in own.items()}
            for name, own in methods.items()
        }
        for label, methods in collected.items()
    }


if __name__ == "__main__":
    main()
