"""Makes src/detector/tests/fixtures/metrics.safetensors: average precision of the reference package on random arrays.

`ap_per_class` (ultralytics 8.4.190) is called as a black box with random true-positive tables, confidences and classes.

    YOLO_OFFLINE=true python tests/reference/metrics_cases.py src/detector/tests/fixtures/metrics.safetensors

A second argument is another seed than the fixture's (`cargo xtask parity`).
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from ultralytics.utils.metrics import ap_per_class

sys.tracebacklimit = 0  # A traceback would quote the package's source.


def case(rng, predictions, truths, predicted_classes, true_classes, quality):
    """`quality` is the chance of a hit at IoU 0.5; it falls with the threshold and rises with the confidence."""
    conf = rng.permutation(np.linspace(0.001, 0.97, predictions)).astype(np.float32)
    chance = np.linspace(quality, quality / 4, 10) * (0.4 + 0.6 * conf[:, None])
    tp = np.logical_and.accumulate(rng.random((predictions, 10)) < chance, axis=1)
    return tp, conf, rng.choice(predicted_classes, predictions), rng.choice(true_classes, truths)


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
    save_file(out, path)


main(sys.argv[1], *map(int, sys.argv[2:]))
