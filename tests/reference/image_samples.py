"""Samples of the reference package's data pipeline with the random draws that made them, for `cargo xtask parity`.
Also JPEGs as OpenCV, which the package decodes with, gives them, whole and resized.

    python image_samples.py DIR [--seed N]

The package (ultralytics 8.4.190, OpenCV 5.0) is run as a black box: its training dataset makes the samples, Python's and
NumPy's generators are wrapped so that every draw is written down. DIR gets PNG files and samples.json.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.augment import LetterBox

sys.tracebacklimit = 0  # A traceback would quote the package's source.

SIDE = 96
SIZES = [(120, 80), (70, 96), (96, 96), (53, 37), (150, 61), (96, 54), (200, 300), (64, 48)]
NOTHING = dict(
    mosaic=0.0, degrees=0.0, translate=0.0, scale=0.0, shear=0.0, perspective=0.0, mixup=0.0, cutmix=0.0, copy_paste=0.0,
    hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, flipud=0.0, fliplr=0.0, bgr=0.0,
)
CASES = {
    "affine": dict(degrees=20.0, translate=0.2, scale=0.4, shear=6.0),
    "perspective": dict(degrees=8.0, translate=0.1, scale=0.3, perspective=0.0008),
    "mosaic": dict(mosaic=1.0, translate=0.1, scale=0.5),
    "hsv": dict(hsv_h=0.015, hsv_s=0.7, hsv_v=0.4),
    "flips": dict(flipud=0.5, fliplr=0.5),
    "mixup": dict(mixup=0.7, mosaic=0.5, translate=0.1, scale=0.3),
    "default": dict(mosaic=1.0, translate=0.1, scale=0.5, hsv_h=0.015, hsv_s=0.7, hsv_v=0.4, fliplr=0.5),
}
# By what OpenCV calls the sampling; None: one component.
SAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "grey": None,
}
QUALITIES = [50, 75, 95]
JPEG_SIZES = [(320, 240), (333, 251), (129, 257)]


def scene(width, height, rng):
    """Gradients, edges, some noise and coloured boxes; returns BGR pixels and label rows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack([x, y, 255 - (x + y) / 2], -1) * 0.6 + rng.normal(30, 10, (height, width, 3))
    rows = []
    for _ in range(rng.integers(1, 5)):
        w, h = rng.integers(width // 6, width // 2), rng.integers(height // 6, height // 2)
        left, top = rng.integers(0, width - w), rng.integers(0, height - h)
        image[top : top + h, left : left + w] = rng.integers(0, 256, 3)
        rows.append([int(rng.integers(3)), (left + w / 2) / width, (top + h / 2) / height, w / width, h / height])
    return np.clip(image, 0, 255).astype(np.uint8), rows


class Draws:
    """Writes down what Python's and NumPy's global generators give."""

    def __init__(self):
        self.seen, self.on = [], False
        for module, name in [
            (random, "random"), (random, "uniform"), (random, "randint"), (random, "choices"), (np.random, "uniform"),
            (np.random, "beta"),
        ]:
            setattr(module, name, self.wrapped(getattr(module, name)))

    def wrapped(self, function):
        def call(*arguments, **named):
            value = function(*arguments, **named)
            if self.on:
                self.seen.append(np.asarray(value, np.float64).reshape(-1).tolist())
            return value

        return call


def parameters(draws, changes):
    """What the draws of one sample decide; they always come in this order."""
    values = iter([value for found in draws for value in found])
    take = lambda count: [next(values) for _ in range(count)]

    def geometry():
        mosaic = None
        if take(1)[0] < changes.get("mosaic", 0.0):
            partners, (y, x) = take(3), take(2)
            mosaic = dict(partners=[int(p) for p in partners], centre=[int(x), int(y)])
        return dict(mosaic=mosaic, affine=take(8))

    out = geometry() | dict(mixup=None, hsv=None)
    if take(1)[0] < changes.get("mixup", 0.0):
        partner = int(take(1)[0])
        out["mixup"] = dict(partner=partner, **geometry(), ratio=take(1)[0])
    take(1)  # Whether to cut a second sample in: never here.
    gains = [changes.get(f"hsv_{channel}", 0.0) for channel in "hsv"]
    if any(gains):
        out["hsv"] = [draw * gain for draw, gain in zip(take(3), gains)]
    out["flips"] = [draw < changes.get(axis, 0.0) for draw, axis in zip(take(2), ("flipud", "fliplr"))]
    assert len(list(values)) == 1, "one draw is left, about the order of the colours"
    return out


def jpegs(folder, rng):
    """JPEGs with what OpenCV makes of them: whole (side 0), and resized to a long side, as the package loads them."""
    found = []
    for width, height in JPEG_SIZES:
        image, _ = scene(width, height, rng)
        for sampling, factor in SAMPLINGS.items():
            for quality in QUALITIES:
                flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
                if factor is not None:
                    flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
                file = f"jpeg{len(found)}.jpg"
                cv2.imwrite(str(folder / file), image if factor is not None else image[..., 1], flags)
                whole = cv2.imread(str(folder / file))
                longest = max(width, height)
                for divisor in (1, 2, 2.6, 4, 8):
                    side = int(longest / divisor)
                    ratio = side / longest
                    loaded = [min(int(np.ceil(n * ratio)), side) for n in (width, height)]
                    pixels = whole if divisor == 1 else cv2.resize(whole, loaded, interpolation=cv2.INTER_LINEAR)
                    output = f"jpeg{len(found)}.png"
                    cv2.imwrite(str(folder / output), pixels)
                    even = width % divisor == 0 and height % divisor == 0
                    case = dict(sampling=sampling, quality=quality, divisor=divisor, even=even)
                    found.append(dict(case, file=file, side=0 if divisor == 1 else side, output=output))
    return found


def main(folder, seed):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    result = dict(side=SIDE, sources=[], letterboxes=[], samples=[])
    scenes = []
    for i, (width, height) in enumerate(SIZES):
        image, rows = scene(width, height, rng)
        cv2.imwrite(str(folder / f"source{i}.png"), image)
        scenes.append((image, rows))
        result["sources"].append(rows)

    for i, (image, _) in enumerate(scenes):
        for scaleup, auto in ((False, False), (True, False), (True, True)):
            boxed = LetterBox((SIDE, SIDE), auto=auto, scaleup=scaleup, stride=32)(image=image)
            name = f"letterbox{len(result['letterboxes'])}.png"
            cv2.imwrite(str(folder / name), boxed)
            result["letterboxes"].append(dict(source=i, scaleup=scaleup, auto=auto, output=name))

    result["jpegs"] = jpegs(folder, rng)

    recorder = Draws()
    for case, changes in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            for part in ("images", "labels"):
                (root / part).mkdir()
            for i, (image, rows) in enumerate(scenes):
                cv2.imwrite(str(root / "images" / f"{i}.png"), image)
                text = "".join(f"{k} {' '.join(repr(float(v)) for v in xywh)}\n" for k, *xywh in rows)
                (root / "labels" / f"{i}.txt").write_text(text)
            settings = get_cfg(overrides=dict(NOTHING, imgsz=SIDE, cache="ram", **changes))
            data = dict(names={0: "a", 1: "b", 2: "c"}, nc=3, channels=3)
            made = build_yolo_dataset(settings, str(root / "images"), 4, data, mode="train")
            for turn in range(2):
                for i in range(len(scenes)):
                    random.seed(f"{seed} {case} {turn} {i}")
                    np.random.seed((seed * 7919 + turn * 100 + i) % 2**32)
                    recorder.seen.clear()
                    recorder.on = True
                    sample = made[i]
                    recorder.on = False
                    name = f"{case}{turn}{i}.png"
                    pixels = sample["img"].numpy().transpose(1, 2, 0)
                    cv2.imwrite(str(folder / name), pixels[..., ::-1])
                    classes, xywh = sample["cls"].numpy().reshape(-1, 1), sample["bboxes"].numpy().reshape(-1, 4)
                    boxes = np.concatenate([classes, xywh], 1)
                    result["samples"].append(
                        dict(case=case, source=i, output=name, boxes=boxes.tolist(), **parameters(recorder.seen, changes))
                    )
    (folder / "samples.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    arguments = arguments.parse_args()
    main(arguments.folder, arguments.seed)
