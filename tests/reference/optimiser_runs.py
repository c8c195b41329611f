"""Short training runs of the reference package, recorded for `cargo xtask parity`.

    python optimiser_runs.py DIR [--seed N]

The package (ultralytics 8.4.190, torch 2.13.0, CPU, float32, one thread) is run as a black box: its own trainer makes
the optimiser, the schedule, warm-up, accumulation, clipping and the EMA; only the batches are ours. Default learning
rates. Three files for each optimiser:

given    every gradient is replaced by random numbers that the other side draws too (`torch.manual_seed` and `randn` of
         the same libtorch), so that the optimiser stands alone
own      the network's own gradients
owntwin  the same run with each gradient off by 1e-7 of itself, the last bit: how far the reference then is from itself
         is what rounding alone does to a young network

A file holds the weights at the start (`start.`), the parameters after some of the steps (`step10.`), all weights of
the average at the end (`ema.`), the batches (`batch3.`), and a trace with one row an iteration: accumulate, EMA updates,
learning rates of the groups, momentum of the last group. Of a twin only the weights are kept. `own` also has all that a
single step needs, for some of the steps: the state before it (`before10.model.`, `.ema.`, `.first.`, `.second.`, of the
optimiser the last two), the gradients that the step gets, before clipping (`before10.gradient.`), and the average after
it (`after10.ema.`).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from ultralytics.models.yolo.detect import DetectionTrainer

sys.tracebacklimit = 0  # A traceback would quote the package's source.

SIDE, BATCH, BATCHES, CLASSES, EPOCHS, NOMINAL = 64, 4, 8, 3, 40, 16
STEPS, KEPT, SINGLE = 50, (1, 2, 3, 5, 10, 20, 30, 40, 50), (1, 10, 30, 50)
RATES = dict(lr0=0.01, warmup_bias_lr=0.1)


class Done(Exception):
    """Enough was seen."""


def dataset(folder):
    """Pictures that the trainer needs to begin; what it trains on comes from `batches`."""
    for split in ("train", "valid"):
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True)
        for i in range(BATCH * BATCHES):
            cv2.imwrite(str(folder / split / "images" / f"{i:02}.png"), np.full((SIDE, SIDE, 3), 3 * i, np.uint8))
            (folder / split / "labels" / f"{i:02}.txt").write_text(f"{i % CLASSES} 0.5 0.5 0.5 0.5\n")
    names = "".join(f"  {i}: shape-{i}\n" for i in range(CLASSES))
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: train/images\nval: valid/images\nnames:\n{names}")
    return str(folder / "data.yaml")


def batches(seed):
    """Coloured rectangles on noise, one to three an image."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(BATCHES):
        pixels = rng.integers(0, 90, (BATCH, 3, SIDE, SIDE), dtype=np.uint8)
        targets = []
        for image in range(BATCH):
            for _ in range(rng.integers(1, 4)):
                w, h = rng.integers(12, 40, 2)
                x, y = rng.integers(0, SIDE - w), rng.integers(0, SIDE - h)
                k = int(rng.integers(CLASSES))
                pixels[image, :, y : y + h, x : x + w] = rng.integers(100, 160)
                pixels[image, k, y : y + h, x : x + w] += 90
                targets.append([image, k, (x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE])
        out.append((torch.from_numpy(pixels), torch.tensor(targets, dtype=torch.float32)))
    return out


def given_gradients(net, seed):
    """Random gradients by iteration; every third is small enough not to be clipped."""
    parameters = list(net.parameters())
    sizes = [p.numel() for p in parameters]
    parts = []

    def prepare(iteration):
        torch.manual_seed(1000 * seed + iteration)
        flat = torch.randn(sum(sizes)) * (1e-3 if iteration % 3 == 2 else 0.1)
        parts[:] = [part.reshape(p.shape) for part, p in zip(flat.split(sizes), parameters)]

    for index, parameter in enumerate(parameters):
        parameter.register_hook(lambda gradient, index=index: parts[index])
    return prepare


def rounding(net, seed):
    """Gradients that are off by 1e-7 of themselves."""
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in net.parameters():
        parameter.register_hook(lambda g: g * (1 + 1e-7 * torch.randn(g.shape, generator=generator)))


def momenta(t):
    """Buffers of the optimiser by name: Adam's two, SGD's, and beside that of MuSGD the one of its orthogonal part."""
    places = dict(exp_avg="first", momentum_buffer="first", momentum_buffer_SGD="first", exp_avg_sq="second")
    for name, parameter in t.model.named_parameters():
        buffers = {k: v for k, v in t.optimizer.state.get(parameter, {}).items() if torch.is_tensor(v) and v.dim()}
        muon = len(buffers) == 2 and "exp_avg" not in buffers
        for key, buffer in buffers.items():
            place = "second" if muon and key == "momentum_buffer" else places[key]
            yield f"{place}.{name}", buffer


def record(kind, optimizer, seed, folder):
    kept, trace = {}, []
    fixed = batches(seed)
    for i, (pixels, targets) in enumerate(fixed):
        kept[f"batch{i}.pixels"], kept[f"batch{i}.targets"] = pixels, targets
    count = [0]
    prepare = [lambda iteration: None]

    def copy(prefix, entries):
        kept.update({f"{prefix}.{k}": v.detach().clone().contiguous() for k, v in entries})

    def start(t):
        torch.set_num_threads(1)
        copy("start", t.model.state_dict().items())
        if kind == "given":
            prepare[0] = given_gradients(t.model, seed)
        if kind.endswith("twin"):
            rounding(t.model, seed)
        if kind == "own":
            step_with_state(t)

    def step_with_state(t):
        step = t.optimizer_step

        def before(number):
            if number in SINGLE:
                copy(f"before{number}.model", t.model.state_dict().items())
                copy(f"before{number}.ema", t.ema.ema.state_dict().items())
                copy(f"before{number}", momenta(t))

        def recorded():
            number = t.ema.updates + 1
            if number in SINGLE:
                copy(f"before{number}.gradient", ((k, p.grad) for k, p in t.model.named_parameters()))
            step()
            if number in SINGLE:
                copy(f"after{number}.ema", t.ema.ema.state_dict().items())
            before(number + 1)

        before(1)
        t.optimizer_step = recorded

    def preprocess(batch):
        iteration = count[0]
        count[0] += 1
        prepare[0](iteration)
        pixels, targets = fixed[iteration % BATCHES]
        return dict(
            batch, img=pixels.float() / 255, batch_idx=targets[:, 0], cls=targets[:, 1:2], bboxes=targets[:, 2:]
        )

    def after(t):
        groups = t.optimizer.param_groups
        last = groups[-1]
        momentum = last["momentum"] if "momentum" in last else last["betas"][0]
        trace.append([t.accumulate, t.ema.updates, *(g["lr"] for g in groups), momentum])
        steps = t.ema.updates
        if steps != (trace[-2][1] if len(trace) > 1 else 0) and steps in KEPT:
            copy(f"step{steps}", t.model.named_parameters())
        if steps == STEPS:
            copy("ema", t.ema.ema.state_dict().items())
            raise Done

    with tempfile.TemporaryDirectory() as scratch:
        overrides = dict(
            model="yolo26n.yaml", data=dataset(Path(scratch)), imgsz=SIDE, batch=BATCH, epochs=EPOCHS, device="cpu",
            optimizer=optimizer, nbs=NOMINAL, workers=0, seed=seed, amp=False, val=False, plots=False, save=False,
            project=scratch, name="run", verbose=False, **RATES,
        )
        t = DetectionTrainer(overrides=overrides)
        t.add_callback("on_train_start", start)
        t.add_callback("on_train_batch_end", after)
        t.preprocess_batch = preprocess
        try:
            t.train()
        except Done:
            pass
    kept["trace"] = torch.tensor(trace, dtype=torch.float64)
    kept["rates"] = torch.tensor([RATES["lr0"], RATES["warmup_bias_lr"]], dtype=torch.float64)
    kept["setting"] = torch.tensor([SIDE, BATCH, BATCHES, CLASSES, EPOCHS, NOMINAL, STEPS, seed], dtype=torch.int64)
    if kind.endswith("twin"):
        kept = {k: v for k, v in kept.items() if k.startswith(("step", "ema"))}
    name = f"{kind}-{optimizer}"
    save_file(kept, folder / f"{name}.safetensors")
    print(f"{name}: {len(trace)} iterations, {STEPS} steps", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    arguments = arguments.parse_args()
    for optimizer in ("SGD", "AdamW", "MuSGD"):
        for kind in ("own", "given", "owntwin"):
            record(kind, optimizer, arguments.seed, arguments.folder)
