"""The reference package's side of `cargo xtask bench step`: one whole training step of yolo26n, 3 classes, batch 8.

    bench_step.py shipped|best FOLDER      FOLDER: an empty one for a tiny dataset, which the trainer's set-up asks for

The trainer's own network, batch preparation, loss, MuSGD and averaging are driven through their public calls.
`shipped`: threads as the package chooses them (one fewer than cores), float32, contiguous. `best`: a thread a core, bfloat16
autocast, channels-last memory.
"""

import os
import sys
from pathlib import Path

from bench_common import serve, versions

import numpy as np
import torch
from PIL import Image
from ultralytics.models.yolo.detect import DetectionTrainer

BATCH, CLASSES, BOXES_PER_IMAGE = 8, 3, 12
best, folder = {"shipped": False, "best": True}[sys.argv[1]], Path(sys.argv[2]).resolve()


def trainer():
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
    for i in range(BATCH):
        Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(folder / f"images/train/{i}.png")
        (folder / f"labels/train/{i}.txt").write_text(f"{i % CLASSES} .5 .5 .5 .5\n")
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/train\nnames: [a, b, c]\n")
    t = DetectionTrainer(
        overrides=dict(
            model="yolo26n.yaml", data=str(data), imgsz=64, batch=BATCH, device="cpu", optimizer="MuSGD",
            plots=False, workers=0, verbose=False, project=str(folder / "runs"),
        )
    )
    t._setup_train()
    t.model.train()
    return t


def batch(side):
    g = torch.Generator().manual_seed(side)
    n = BATCH * BOXES_PER_IMAGE
    return dict(
        img=torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8, generator=g),
        batch_idx=torch.arange(BATCH).repeat_interleave(BOXES_PER_IMAGE).float(),
        cls=(torch.arange(n) % CLASSES).float()[:, None],
        bboxes=torch.cat([torch.rand(n, 2, generator=g) * 0.6 + 0.2, torch.rand(n, 2, generator=g) * 0.3 + 0.05], 1),
    )


t = trainer()
if best:
    torch.set_num_threads(os.cpu_count())
    t.model.to(memory_format=torch.channels_last)
batches = {side: batch(side) for side in (320, 640)}


def step(side):
    b = t.preprocess_batch(dict(batches[side]))
    if best:
        b["img"] = b["img"].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=best):
        loss, _ = t.model(b)
    loss.sum().backward()
    t.optimizer_step()


facts = {"threads": torch.get_num_threads(), "precision": "bfloat16" if best else "float32", "optimizer": type(t.optimizer).__name__}
serve(facts | versions(), lambda name: (lambda: step(int(name)), BATCH))
