"""The reference package's side of `cargo xtask bench infer`: folded yolo26n, 3 classes, 640 x 640 pixels to boxes.

    bench_infer.py shipped|best|onnxruntime FOLDER      FOLDER: an empty one for the model files

`shipped`: `YOLO.predict` on arrays in memory, as the package sets itself up. `best`: the folded network in channels-last
memory under bfloat16 autocast with a thread a core, then the package's suppression. `onnxruntime`: the same network in
float32 as ONNX (exported here, needs the `onnx` package), a thread a core, then the package's suppression.
"""

import os
import sys
from pathlib import Path

from bench_common import serve, versions

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

SIDE, CLASSES, LARGEST = 640, 3, 8
how, folder = sys.argv[1], Path(sys.argv[2])
pixels = np.random.default_rng(0).integers(0, 256, (LARGEST, SIDE, SIDE, 3), dtype=np.uint8)


def folded():
    torch.manual_seed(0)
    return DetectionModel("yolo26n.yaml", nc=CLASSES, verbose=False).eval().fuse(verbose=False)


def boxes(y):
    return non_max_suppression(y, 0.25, 0.7, max_det=300)


def shipped():
    torch.manual_seed(0)
    model = YOLO("yolo26n.yaml")
    model.model = DetectionModel("yolo26n.yaml", nc=CLASSES, verbose=False)
    model.save(folder / "w.pt")
    model = YOLO(folder / "w.pt")

    def run(n):
        model.predict([*pixels[:n]], imgsz=SIDE, batch=n, device="cpu", verbose=False)

    run(1)
    return run


def best():
    torch.set_num_threads(os.cpu_count())
    net = folded().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(n):
        x = torch.from_numpy(pixels[:n]).permute(0, 3, 1, 2).float().div_(255)
        with torch.autocast("cpu", torch.bfloat16):
            y = net(x)
        boxes((y[0] if isinstance(y, (tuple, list)) else y).float())

    return run


def with_onnxruntime():
    import onnxruntime

    class Decoded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = folded()

        def forward(self, x):
            y = self.net(x)
            return y[0] if isinstance(y, (tuple, list)) else y

    file = str(folder / "w.onnx")
    axis = {0: "batch"}
    torch.onnx.export(
        Decoded().eval(), torch.zeros(1, 3, SIDE, SIDE), file, dynamo=False, opset_version=18, input_names=["images"],
        output_names=["output0"], dynamic_axes={"images": axis, "output0": axis},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(n):
        x = np.ascontiguousarray(pixels[:n].transpose(0, 3, 1, 2)).astype(np.float32)
        x /= 255
        boxes(torch.from_numpy(session.run(None, {"images": x})[0]))

    return run


run = {"shipped": shipped, "best": best, "onnxruntime": with_onnxruntime}[how]()
serve({"threads": torch.get_num_threads()} | versions(), lambda name: (lambda: run(int(name)), int(name)))
