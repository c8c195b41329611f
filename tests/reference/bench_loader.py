"""The reference package's side of `cargo xtask bench loader`: its training dataset and collation in one thread.

    bench_loader.py FOLDER      FOLDER: the dataset that `bench scenes` made

Cases: `first`, images decoded as they are asked for; `warm`, everything decoded before (`cache=ram`). Seconds are
those of the processor: one thread of a busy machine has only a share of a core.
"""

import sys
import time
from pathlib import Path

from bench_common import serve, versions

import cv2
import torch
import yaml
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset

cv2.setNumThreads(1)
torch.set_num_threads(1)
BATCH, SIDE = 8, 640
folder = Path(sys.argv[1])
data = yaml.safe_load((folder / "data.yaml").read_text())
data |= {"names": dict(enumerate(data["names"])), "nc": len(data["names"]), "channels": 3}


def dataset(cache):
    args = get_cfg(overrides=dict(imgsz=SIDE, cache=cache, task="detect", workers=0))
    return build_yolo_dataset(args, str(folder / "images/train"), BATCH, data, mode="train", rect=False, stride=32)


sets = {"first": dataset(False), "warm": dataset("ram")}


def epoch(ds):
    order = torch.randperm(len(ds)).tolist()
    for start in range(0, len(order), BATCH):
        ds.collate_fn([ds[i] for i in order[start : start + BATCH]])


facts = {"threads": 1, "dataset": len(sets["first"])} | versions()
serve(facts, lambda name: (lambda: epoch(sets[name]), len(sets[name])), time.process_time)
