"""Reference numbers for src/detector/tests/reference_forward.rs, made by running the reference package as a black box.

    python detector_forward.py fixture FILE   the committed sample: weights and inputs come from a formula that the Rust
                                              test restates, so only a few thousand output values are kept
    python detector_forward.py full DIR [SEED]  random weights, inputs of several sizes and all outputs, one file a
                                              network, which `cargo xtask parity` compares to the bit

Needs ultralytics 8.4.190, torch 2.13.0 and safetensors; set YOLO_OFFLINE=true. One thread, float32, contiguous memory.

The formula: u(name, i) in [0, 1) = the upper 24 bits of fmix32(fnv1a(name) + i * 0x9E3779B9) / 2^24, s = 2u - 1.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save, save_file
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

sys.tracebacklimit = 0  # A traceback would quote the package's source.

HEIGHT, WIDTH, BATCH = 64, 96, 2
FIXTURE_CASES = [("n", 3), ("n", 80), ("s", 3), ("m", 80), ("l", 2)]
# Images, height and width of further inputs, for which gradients are not kept.
FULL_CASES = [
    ("n", 3, [(3, 64, 64), (1, 96, 160), (1, 320, 320)]), ("n", 80, []), ("s", 3, [(3, 64, 64), (1, 160, 96)]),
    ("m", 80, [(1, 64, 64), (1, 96, 160)]), ("l", 80, [(1, 64, 64), (1, 160, 96)]), ("x", 1, [(1, 64, 64), (2, 96, 160)]),
]
SAMPLES = 24
ANCHORS = sum(HEIGHT // s * WIDTH // s for s in (8, 16, 32))


def fnv1a(name):
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def mixed(name, count):
    x = (np.uint64(fnv1a(name)) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B9)).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def unit(name, count):
    return (mixed(name, count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def signed(name, count):
    return unit(name, count) * np.float32(2) - np.float32(1)


def formula(name, shape):
    """The value of a state entry."""
    count = math.prod(shape)
    s = signed(name, count)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if len(shape) == 4:
        values = s * np.float32(math.sqrt(4.0 / math.prod(shape[1:])))
    elif name.endswith("bn.weight"):
        values = np.float32(1) + np.float32(0.25) * s
    elif name.endswith("running_var"):
        values = np.float32(1) + np.float32(0.5) * s
    elif name.endswith(".2.bias"):
        values = np.float32(2) + np.float32(0.5) * s if "cv2" in name else np.float32(-2) + s
    else:
        values = np.float32(0.125) * s
    return torch.from_numpy(values.reshape(shape))


def sample(name, tensor, count):
    flat = tensor.detach().contiguous().flatten()
    at = torch.from_numpy(mixed("sample." + name, count).astype(np.int64) % flat.numel())
    return flat[at].float().contiguous()


def heads(raw):
    return {f"{head}.{part}": raw[head][part] for head in ("one2many", "one2one") for part in ("boxes", "scores")}


def evaluate(net, x, prefix=""):
    net.eval()
    with torch.no_grad():
        net.end2end = True
        selected, raw = net(x)
        net.end2end = False
        table, _ = net(x)
    out = {f"{prefix}eval.{k}": v for k, v in heads(raw).items()}
    return out | {f"{prefix}table": table, f"{prefix}end2end": selected}


def train(net, x):
    net.train()
    net.zero_grad()
    raw = heads(net(x))
    seeds = [torch.from_numpy(signed("seed." + k, v.numel()).reshape(v.shape)) for k, v in raw.items()]
    torch.autograd.backward(list(raw.values()), seeds)
    return {f"train.{k}": v.detach() for k, v in raw.items()}


def suppressed(table, nc):
    """Rows of both images below each other, image index first."""
    found = non_max_suppression(table.clone(), 0.05, 0.5, multi_label=nc > 1, max_det=300)
    return torch.cat([torch.cat([torch.full((len(rows), 1), float(b)), rows], 1) for b, rows in enumerate(found)])


def made_up_answers(nc):
    """Suppression on answers whose scores are far apart: a fresh network's are nearly equal, and have no order."""
    boxes, logits = torch.rand(BATCH, 4, ANCHORS) * 3, torch.randn(BATCH, nc, ANCHORS) * 2
    points, strides = [], []
    for s in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(HEIGHT // s), torch.arange(WIDTH // s), indexing="ij")
        points.append(torch.stack([x, y]).reshape(2, -1) + 0.5)
        strides.append(torch.full((1, points[-1].shape[1]), float(s)))
    points, strides = torch.cat(points, 1), torch.cat(strides, 1)
    corners = points - boxes[:, :2], points + boxes[:, 2:]
    xywh = torch.cat([(corners[0] + corners[1]) / 2, corners[1] - corners[0]], 1) * strides
    table = torch.cat([xywh, logits.sigmoid()], 1)
    return {"answers.boxes": boxes, "answers.logits": logits, "answers.nms": suppressed(table, nc)}


def fixture(path):
    kept = {}
    for scale, nc in FIXTURE_CASES:
        net = DetectionModel(f"yolo26{scale}.yaml", nc=nc, verbose=False)
        net.load_state_dict({k: formula(k, tuple(v.shape)) for k, v in net.state_dict().items()})
        x = torch.from_numpy(unit("input", BATCH * 3 * HEIGHT * WIDTH).reshape(BATCH, 3, HEIGHT, WIDTH))
        case = f"{scale}{nc}."
        outputs = evaluate(net, x)
        if scale == "n":
            kept[case + "nms"] = suppressed(outputs["table"], nc).contiguous()
            kept[case + "end2end"] = outputs["end2end"].contiguous()
        del outputs["end2end"]
        outputs |= train(net, x)
        kept |= {case + k: sample(case + k, v, SAMPLES) for k, v in outputs.items()}
        stats = [(k, v) for k, v in net.state_dict().items() if "running" in k]
        kept[case + "running"] = torch.cat([sample(k, v, 1) for k, v in stats])
        kept[case + "gradients"] = torch.cat([sample(k, p.grad, 1) for k, p in net.named_parameters()])
    Path(path).write_bytes(save(kept))


def random_network(scale, nc):
    net = DetectionModel(f"yolo26{scale}.yaml", nc=nc, verbose=False)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("bn.weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("bn.bias", "running_mean")):
                tensor.uniform_(-0.2, 0.2)
            elif name.endswith(".2.bias"):
                tensor.uniform_(*((1.0, 3.0) if "cv2" in name else (-3.0, 1.0)))
    return net


def folded(scale, nc, state):
    for head, end2end in (("one2many", False), ("one2one", True)):
        net = DetectionModel(f"yolo26{scale}.yaml", nc=nc, verbose=False)
        net.load_state_dict(state)
        net.end2end = end2end
        yield head, net.eval().fuse(verbose=False)


def full(directory, seed=0):
    for scale, nc, more in FULL_CASES:
        torch.manual_seed(100 * seed + nc)
        net = random_network(scale, nc)
        state = {k: v.clone() for k, v in net.state_dict().items()}
        kept = {f"state.{k}": v for k, v in state.items()}
        twins = dict(folded(scale, nc, state))
        for batch, height, width in [(BATCH, HEIGHT, WIDTH), *more]:
            x = torch.rand(batch, 3, height, width)
            net.load_state_dict(state)
            out = {"input": x} | evaluate(net, x) | train(net, x)
            for head, twin in twins.items():
                with torch.no_grad():
                    out[f"fused.{head}"], _ = twin(x)
            kept |= {f"{width}x{height}.{k}": v for k, v in out.items()}
            if (height, width) == (HEIGHT, WIDTH):
                kept |= {f"gradient.{k}": p.grad.clone() for k, p in net.named_parameters()}
                kept |= {f"after.{k}": v.clone() for k, v in net.state_dict().items() if "running" in k}
        if nc <= 3:  # With 80 classes suppression runs into its time limit on a busy machine.
            kept |= made_up_answers(nc)
        if scale == "n":
            for head, twin in twins.items():
                kept |= {f"fused.{head}.state.{k}": v for k, v in twin.state_dict().items()}
        save_file({k: v.contiguous() for k, v in kept.items()}, Path(directory) / f"yolo26{scale}-{nc}.safetensors")
        print(scale, nc, len(kept))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"fixture": fixture, "full": full}[sys.argv[1]](sys.argv[2], *map(int, sys.argv[3:]))
