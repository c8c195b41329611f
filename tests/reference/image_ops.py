"""Makes the fixtures of the dataset crate's image operations with OpenCV, an independent implementation.

    python tests/reference/image_ops.py src/dataset/tests/fixtures

Needs opencv-python 5.0 and numpy; Pillow for the CMYK file, which OpenCV can't write. Writes small PNG files and
image_ops.json, which lists the cases: operation, input, output, parameters. Everything is drawn from a fixed seed.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

BACKGROUND = (114, 114, 114)


def scene(width, height, rng):
    """Gradients, sharp edges and noise: what interpolation and colour conversion can get wrong."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack([x, y, 255 - (x + y) / 2], -1)
    image += rng.normal(0, 12, image.shape)
    image[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 60)
    image[height // 2 :, : width // 4] = rng.integers(0, 256, image[height // 2 :, : width // 4].shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def shifted(bgr, hue, saturation, value):
    """One look-up table a channel on 8-bit HSV."""
    x = np.arange(256, dtype=np.float64)
    tables = (
        ((x + hue * 180) % 180).astype(np.uint8),
        np.clip(x * (1 + saturation), 0, 255).astype(np.uint8),
        np.clip(x * (1 + value), 0, 255).astype(np.uint8),
    )
    planes = cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV))
    changed = cv2.merge([cv2.LUT(plane, table) for plane, table in zip(planes, tables)])
    return cv2.cvtColor(changed, cv2.COLOR_HSV2BGR)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    cases = []

    def add(operation, source, result, **parameters):
        name = f"{operation}_{sum(case['operation'] == operation for case in cases)}.png"
        cv2.imwrite(str(folder / name), result, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        cases.append(dict(operation=operation, input=source, output=name, **parameters))

    sources = {"odd.png": scene(53, 37, rng), "even.png": scene(64, 48, rng)}
    for name, image in sources.items():
        cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])

    for name, width, height in [
        ("odd.png", 80, 56),
        ("odd.png", 40, 28),
        ("odd.png", 17, 61),
        ("odd.png", 106, 74),
        ("odd.png", 1, 1),
        ("even.png", 32, 24),
        ("even.png", 63, 47),
        ("even.png", 20, 15),
    ]:
        result = cv2.resize(sources[name], (width, height), interpolation=cv2.INTER_LINEAR)
        add("resize", name, result, width=width, height=height)

    turn = cv2.getRotationMatrix2D((0, 0), 23.0, 1.2)
    for matrix in [
        [[0.6, 0, 20], [0, 0.6, 12]],
        [[1.43, 0, -9.3], [0, 1.43, -14.8]],
        [[1, 0, 16], [0, 1, 24]],
        (turn + [[0, 0, 7.5], [0, 0, 30.25]]).tolist(),
        [[0.9, 0.31, 3.0], [-0.12, 0.8, 20.0]],
        [[1.1, 0.05, -4.0], [0.02, 0.95, 9.0], [0.0007, -0.0004, 1.0]],
    ]:
        form = np.array(matrix, np.float64)
        warp = cv2.warpAffine if len(matrix) == 2 else cv2.warpPerspective
        result = warp(sources["even.png"], form, dsize=(72, 72), borderValue=BACKGROUND)
        add("warp", "even.png", result, side=72, matrix=(matrix + [[0.0, 0.0, 1.0]])[:3])

    for shift in [[0.0, 0.0, 0.0], [0.011, -0.52, 0.31], [-0.3, 0.66, -0.37], [0.5, -1.0, 1.0]]:
        for name, image in sources.items():
            add("hsv", name, shifted(image, *shift), shift=shift)

    # A smooth CMYK picture: JPEG decoders differ by a few levels on sharp edges.
    smooth = cv2.GaussianBlur(sources["even.png"], (0, 0), 6)
    cmyk = Image.fromarray(cv2.cvtColor(smooth, cv2.COLOR_BGR2RGB)).convert("CMYK")
    cmyk.save(folder / "cmyk.jpg", quality=95)
    add("decode", "cmyk.jpg", cv2.imread(str(folder / "cmyk.jpg")))

    # JPEGs of every sampling, of a size that cuts blocks; the last two are of kinds that are decoded in full only. The
    # picture is soft, because decoders smooth chroma stored at half the density in their own ways.
    picture = cv2.GaussianBlur(scene(85, 61, rng), (0, 0), 2)
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    for kind, flags in {
        "444": [sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        "422": [sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
        "420": [sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
        "440": [sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440],
        "grey": [cv2.IMWRITE_JPEG_RST_INTERVAL, 7],
        "411": [sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    }.items():
        name = f"jpeg_{kind}.jpg"
        image = picture[..., 1] if kind == "grey" else picture
        cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 80, *flags])
        cases.append(dict(operation="reduce", input=name, whole_only=kind in ("411", "progressive")))

    (folder / "image_ops.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
