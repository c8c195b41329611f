"""The reference package's side of `cargo xtask learn`: yolo26n from random weights, trained by its own loop and measured
by its own validator.

    learn_run.py FOLDER --data data.yaml --epochs N --imgsz N --batch N --seed N --threads N

FOLDER gets what the package writes (results.csv, weights/) and at the end result.json, whole or not at all. SIGINT and
SIGTERM stop it after the epoch in hand with exit code 75; the next start goes on by the package's own resume, from
weights/last.pt. That resume isn't exact (16-bit averaged weights), so `resumed_at` names the epochs it began at.
"""

import argparse
import csv
import json
import os
import signal
import sys
from pathlib import Path

sys.tracebacklimit = 0  # A traceback would quote the package's source.
os.environ.setdefault("YOLO_OFFLINE", "true")

import torch
from ultralytics import YOLO

STOPPED = 75

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=lambda text: Path(text).resolve())
parser.add_argument("--data", required=True)
for name in ("epochs", "imgsz", "batch", "seed", "threads"):
    parser.add_argument(f"--{name}", type=int, required=True)
args = parser.parse_args()

last, best = (args.folder / "weights" / name for name in ("last.pt", "best.pt"))
resumes = args.folder / "resumed_at.json"
stop = False
seen = {}


def ask_to_stop(*_):
    global stop
    stop = True


def read_json(path, default):
    return json.loads(path.read_text()) if path.exists() else default


def replace(path, value):
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(aside, path)


def rows():
    table = args.folder / "results.csv"
    if not table.exists():
        return []
    with table.open() as file:
        return [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]


def begin(trainer):
    torch.set_num_threads(args.threads)  # The package has set its own number by now.
    seen["images"] = len(trainer.train_loader.dataset)
    seen["validation"] = len(trainer.test_loader.dataset)
    replace(args.folder / "images.json", seen)


def end_if_asked(_):
    if stop:  # last.pt holds the epoch.
        os._exit(STOPPED)


def train():
    done = int(rows()[-1]["epoch"]) if last.exists() and rows() else 0
    if done >= args.epochs:
        return
    model = YOLO(last if done else "yolo26n.yaml")
    model.add_callback("on_train_start", begin)
    model.add_callback("on_model_save", end_if_asked)
    if done:
        replace(resumes, read_json(resumes, []) + [done + 1])
        model.train(resume=True)
        return
    model.train(
        data=args.data, epochs=args.epochs, imgsz=args.imgsz, batch=args.batch, seed=args.seed, device="cpu", workers=0,
        pretrained=False, deterministic=True, plots=False, verbose=False,
        project=str(args.folder.parent), name=args.folder.name, exist_ok=True,
    )


for which in (signal.SIGINT, signal.SIGTERM):
    signal.signal(which, ask_to_stop)
args.folder.mkdir(parents=True, exist_ok=True)
train()
model = YOLO(best)
model.add_callback("on_val_start", lambda _: torch.set_num_threads(args.threads))
measured = model.val(
    data=args.data, imgsz=args.imgsz, batch=2 * args.batch, device="cpu", workers=0, plots=False, verbose=False,
    project=str(args.folder), name="val", exist_ok=True,
).results_dict
table = rows()
fitness = [float(row["metrics/mAP50-95(B)"]) for row in table]
replace(
    args.folder / "result.json",
    read_json(args.folder / "images.json", {})
    | {
        "epochs": int(table[-1]["epoch"]),
        "best_epoch": max(range(len(table)), key=lambda i: (fitness[i], i)) + 1,
        "map50": measured["metrics/mAP50(B)"],
        "map50_95": measured["metrics/mAP50-95(B)"],
        "precision": measured["metrics/precision(B)"],
        "recall": measured["metrics/recall(B)"],
        "resumed_at": read_json(resumes, []),
    },
)
