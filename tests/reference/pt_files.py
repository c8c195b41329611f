"""Checkpoints of PyTorch and of the reference package, made and loaded for src/pt/tests/files.rs and for the tests of
`azaion model convert` and `azaion demo --model FILE` (src/cli/tests/azaion).

The package (ultralytics 8.4.190, torch 2.13.0) is run as a black box through its public calls.

    python tests/reference/pt_files.py fixture PATH.pt      one small file with everything that a reader must honour
    python tests/reference/pt_files.py make DIR             NAME.pt of the kinds below, NAME.safetensors what they hold
    python tests/reference/pt_files.py models DIR           three.pt (a stripped checkpoint with 3 classes) and its
                                                            tensors in three.safetensors, fused.pt, other.pt (yolo11n)
    python tests/reference/pt_files.py check OURS.pt EXPECTED.safetensors
                                                            loads OURS with weights_only, strictly into the network
"""

import collections
import sys

# A traceback would quote the package's source.
sys.tracebacklimit = 0

import torch
from safetensors.torch import load_file, save_file


def expected(state):
    """State dictionaries as they are, without sharing of storages."""
    return {k: v.detach().clone().contiguous() for k, v in state.items()}


def fixture(path):
    base = torch.arange(24, dtype=torch.float32) / 8
    state = collections.OrderedDict(
        [
            ("plain", base.reshape(4, 6).clone()),
            # One storage, three views of it.
            ("shared.transposed", base.reshape(4, 6).t()),
            ("shared.slice", base[3:9]),
            ("shared.strided", base.reshape(2, 3, 4)[:, ::2, 1:3]),
            ("half", base[:5].half()),
            ("bfloat", base[:5].bfloat16()),
            ("double", base[:5].double()),
            ("long", torch.arange(3)),
            ("int", torch.arange(-2, 2, dtype=torch.int32)),
            ("byte", torch.arange(250, 256, dtype=torch.uint8)),
            ("bool", torch.tensor([True, False, True])),
            ("scalar", torch.tensor(7)),
            ("empty", torch.zeros(0, 3)),
            ("parameter", torch.nn.Parameter(base[:4].clone())),
        ]
    )
    torch.save({"epoch": 4, "state_dict": state, "best": 0.5, "when": "2026", "set": {1, 2}}, path)


def make(folder):
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO("yolo26n.yaml")
    yolo.save(f"{folder}/saved.pt")
    # `save` writes half precision and leaves the network in memory as it is.
    halves = {k: v.half() if v.is_floating_point() else v for k, v in yolo.model.state_dict().items()}
    save_file(expected(halves), f"{folder}/saved.safetensors")

    net = yolo.model
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    net.names = {0: "circle", 1: "square"}
    running = {"epoch": 3, "best_fitness": 0.1, "model": None, "ema": net, "updates": 9, "optimizer": optimizer.state_dict()}
    torch.save(running, f"{folder}/running.pt")
    save_file(expected(net.state_dict()), f"{folder}/running.safetensors")

    torch.save(net.state_dict(), f"{folder}/plain.pt")
    save_file(expected(net.state_dict()), f"{folder}/plain.safetensors")
    torch.save(net.state_dict(), f"{folder}/legacy.pt", _use_new_zipfile_serialization=False)


def models(folder):
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    three = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    three.nc, three.names = 3, {0: "lemon", 1: "kiwi", 2: "plum"}
    three.half()
    stripped = {"epoch": -1, "best_fitness": None, "model": three, "ema": None, "train_args": {"imgsz": 320, "data": "d.yaml"}}
    torch.save(stripped, f"{folder}/three.pt")
    save_file(expected(three.state_dict()), f"{folder}/three.safetensors")

    fused = YOLO("yolo26n.yaml")
    fused.fuse()
    torch.save({"epoch": -1, "model": fused.model, "ema": None}, f"{folder}/fused.pt")
    YOLO("yolo11n.yaml").save(f"{folder}/other.pt")


def check(ours, reference):
    from ultralytics.nn.tasks import DetectionModel

    found, wanted = torch.load(ours, weights_only=True), load_file(reference)
    assert list(found) == sorted(wanted, key=list(found).index), "names or their number differ"
    for name, tensor in wanted.items():
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name
    classes = found["model.23.cv3.0.2.bias"].numel()
    net = DetectionModel("yolo26n.yaml", nc=classes, verbose=False)
    net.load_state_dict(found, strict=True)


{"fixture": fixture, "make": make, "models": models, "check": check}[sys.argv[1]](*sys.argv[2:])
