"""Makes src/detector/tests/fixtures/metrics.safetensors: metrics of the reference package on made-up numbers.

Two public calls of ultralytics 8.4.190 as a black box: `ap_per_class` with random true-positive tables, confidences and
classes; and its validator, which is given the boxes that a network might have answered with and the objects of the
images, and matches and measures them.

    YOLO_OFFLINE=true python tests/reference/metrics_cases.py src/detector/tests/fixtures/metrics.safetensors

A second argument is another seed than the fixture's (`cargo xtask parity`).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import ap_per_class

sys.tracebacklimit = 0  # A traceback would quote the package's source.


def case(rng, predictions, truths, predicted_classes, true_classes, quality):
    """`quality` is the chance of a hit at IoU 0.5; it falls with the threshold and rises with the confidence."""
    conf = rng.permutation(np.linspace(0.001, 0.97, predictions)).astype(np.float32)
    chance = np.linspace(quality, quality / 4, 10) * (0.4 + 0.6 * conf[:, None])
    tp = np.logical_and.accumulate(rng.random((predictions, 10)) < chance, axis=1)
    return tp, conf, rng.choice(predicted_classes, predictions), rng.choice(true_classes, truths)


def pictured(rng, side=320, classes=4, images=12):
    """Objects (image, class, cx, cy, w, h), and boxes (image, left, top, right, bottom, score, class), best first in
    each image: some near an object, some on it twice, some anywhere. Class 3 is never predicted, one image is empty,
    one object lies on another of its class, and one image has no boxes."""
    objects, boxes = [], []
    for image in range(images):
        own = []
        for _ in range(0 if image == 4 else rng.integers(1, 8)):
            own.append([rng.integers(classes), *rng.uniform(0.2, 0.8, 2), *rng.uniform(0.08, 0.4, 2)])
        if image == 5:
            own.append(own[0])
        objects += [[image, *o] for o in own]
        found = [rng.uniform(0, side, 4) for _ in range(3)]
        labels = list(rng.integers(classes - 1, size=3))
        for label, x, y, w, h in own * 2:
            noise = rng.choice([0.01, 0.05, 0.15])
            found.append(side * (np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) + noise * rng.uniform(-w, w, 4)))
            labels.append(label if rng.random() < 0.8 and label < classes - 1 else rng.integers(classes - 1))
        for box in found[:3]:
            box[:2], box[2:] = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
        scores = np.sort(rng.permutation(np.linspace(0.002, 0.98, 997))[: len(found)])[::-1]
        if image != 6:
            boxes += [[image, *box, score, label] for box, score, label in zip(found, scores, labels)]
    return np.array(objects, np.float32), np.array(boxes, np.float32), side, classes, images


def measured(objects, boxes, side, classes, images):
    """What the package's validator says of them, in batches of two images."""
    names = {i: f"class-{i}" for i in range(classes)}
    with tempfile.TemporaryDirectory() as scratch:
        validator = DetectionValidator(save_dir=Path(scratch), args=dict(plots=False, device="cpu", task="detect"))
        validator.data, validator.device = dict(names=names, nc=classes, val="", path=""), torch.device("cpu")
        net = DetectionModel("yolo26n.yaml", nc=classes, verbose=False)
        net.names = names
        validator.init_metrics(net)
        for first in range(0, images, 2):
            own = torch.from_numpy(objects[(objects[:, 0] >= first) & (objects[:, 0] < first + 2)])
            rows = [torch.from_numpy(boxes[boxes[:, 0] == image]) for image in (first, first + 1)]
            batch = dict(
                img=torch.zeros(2, 3, side, side), batch_idx=own[:, 0] - first, cls=own[:, 1:2], bboxes=own[:, 2:],
                ori_shape=[(side, side)] * 2, ratio_pad=[((1.0, 1.0), (0.0, 0.0))] * 2, im_file=["a.png", "b.png"],
            )
            validator.update_metrics(
                [dict(bboxes=r[:, 1:5], conf=r[:, 5], cls=r[:, 6], extra=torch.zeros(len(r), 0)) for r in rows], batch
            )
        means = validator.get_stats()
        box = validator.metrics.box
    keys = ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)")
    return dict(
        means=np.array([means[f"metrics/{k}"] for k in keys]), precision=np.ascontiguousarray(box.p, np.float64),
        recall=np.ascontiguousarray(box.r, np.float64), ap=np.ascontiguousarray(box.all_ap, np.float64),
        classes=np.ascontiguousarray(box.ap_class_index, np.int32),
    )


def main(path, seed=26):
    rng = np.random.default_rng(seed)
    cases = {
        # Class 4 is never true, class 5 is never predicted, class 6 is neither.
        "random": case(rng, 300, 150, [0, 1, 2, 4], [0, 1, 2, 5, 7], 0.9),
        "poor": case(rng, 120, 80, [0, 1], [0, 1], 0.2),
        "lone": case(rng, 1, 1, [3], [3], 2.5),
        "perfect": (np.ones((40, 10), bool), np.linspace(0.9, 0.3, 40, dtype=np.float32), np.arange(40) % 2, np.arange(40) % 2),
    }
    out = {}
    for name, (tp, conf, pred, true) in cases.items():
        r = ap_per_class(tp, conf, pred.astype(np.float32), true.astype(np.float32))
        print(name, [np.shape(v) for v in r], r[5].mean(0)[0], r[5].mean())
        out[f"{name}.hits"] = (tp.astype(np.int32) << np.arange(10)).sum(1).astype(np.int32)
        out[f"{name}.confidence"] = conf
        out[f"{name}.predicted"] = pred.astype(np.int32)
        out[f"{name}.true"] = true.astype(np.int32)
        for key, index in dict(precision=2, recall=3, ap=5).items():
            out[f"{name}.{key}"] = np.ascontiguousarray(r[index], np.float64)
        out[f"{name}.classes"] = r[6].astype(np.int32)
        for key, index in dict(precision=7, recall=8, f1=9, pr=11).items():
            out[f"{name}.{key}_curve"] = r[index].mean(0).astype(np.float32)
    objects, boxes, *size = pictured(np.random.default_rng(seed + 1))
    out |= {f"pictured.{k}": v for k, v in measured(objects, boxes, *size).items()}
    out |= {"pictured.objects": objects, "pictured.boxes": boxes, "pictured.size": np.array(size, np.int32)}
    save_file(out, path)


main(sys.argv[1], *map(int, sys.argv[2:]))
