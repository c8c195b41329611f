"""The reference package's side of `cargo xtask bench dataset`: the step in which it looks through images and labels and
writes its cache.

    bench_dataset.py FOLDER      FOLDER: a tree whose data/ holds images/ and labels/

Case: `cache`, from no cache to a written one. Its own threads, as it is shipped.
"""

import sys
from pathlib import Path

from bench_common import serve, versions

from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset

images = Path(sys.argv[1]) / "data/images"
count = sum(1 for _ in images.iterdir())
data = {"names": {i: str(i) for i in range(80)}, "nc": 80, "channels": 3}
args = get_cfg(overrides=dict(imgsz=160, cache=False, task="detect", workers=0))


def cache():
    (images.parent / "labels.cache").unlink(missing_ok=True)
    found = build_yolo_dataset(args, str(images), 8, data, mode="val", rect=False, stride=32)
    assert len(found) == count, f"{len(found)} of {count} images"
    assert (images.parent / "labels.cache").is_file()
    (images.parent / "labels.cache").unlink()


serve(versions() | {"images": count}, lambda name: (cache, count))
