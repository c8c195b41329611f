"""What the bench_*.py peers share: the conversation with `cargo xtask bench`.

A peer prints one JSON line about itself, then answers every line `CASE COUNT` on standard input with one JSON line
`{"seconds": [...], "images": N}`, as src/bench does. Whatever the package prints goes to standard error.
"""

import json
import os
import sys
import time

sys.tracebacklimit = 0  # A traceback would quote the package's source.

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_VERBOSE", "false")
_ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def serve(facts, case, clock=time.perf_counter):
    """Answers requests; `case(name)` gives (what to run once, images in a run), `clock` seconds."""
    print(json.dumps(facts), file=_ANSWERS)
    for line in sys.stdin:
        name, count = line.split()
        run, images = case(name)
        seconds = []
        for _ in range(int(count)):
            start = clock()
            run()
            seconds.append(clock() - start)
        print(json.dumps({"seconds": seconds, "images": images, "parts": []}), file=_ANSWERS)


def versions():
    import torch
    import ultralytics

    return {"ultralytics": ultralytics.__version__, "torch": torch.__version__}
