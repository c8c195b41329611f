"""Seeds of the fuzz targets, from the standard library and the committed fixtures alone.

    python3 tests/fuzz/seeds.py        writes tests/fuzz/seeds/TARGET/NAME, the same bytes every time
"""

import json
import pathlib
import pickle
import struct
import zipfile

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent.parent / "src/pt/tests/fixtures"


def put(target, name, content):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key="0"):
    """Four singles of a storage of sixteen, as PyTorch writes them."""
    storage = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K\x10tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"K\x02K\x02K\x02\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtR"


def module(children, parameters=b"}"):
    """A pickled module with these children and parameters."""
    groups = text("_parameters") + parameters + text("_buffers") + b"}" + text("_modules") + children
    about = text("names") + b"}(K\x00" + text("circle") + b"K\x01" + text("square") + b"u" + text("yaml") + b"}(" + text("scale") + text("n") + text("nc") + b"K\x02u"
    return b"cnet\nNet\n)\x81}(" + groups + about + b"ub"


def pickles():
    leaf = module(b"}", b"}" + text("weight") + b"ctorch._utils\n_rebuild_parameter\n(" + tensor() + b"\x89}tRs")
    network = module(b"}" + text("model") + leaf + b"s")
    yield "checkpoint", b"\x80\x02}(" + text("epoch") + b"J\xff\xff\xff\xff" + text("ema") + network + text("model") + b"Nu."
    yield "state", b"\x80\x02}(" + text("a") + tensor() + text("b") + tensor("1") + b"u."
    yield "call", b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R."
    yield "cycle", b"\x80\x02}q\x00" + text("model") + b"h\x00s."
    values = {"a": [1, -1, 1 << 40, 1.5, None, True, b"x", "y", (1, 2, 3), {4}], "b": frozenset([1])}
    for protocol in (2, 4):
        yield f"values{protocol}", pickle.dumps(values, protocol)


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def containers():
    kinds = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "U8": 1}
    yield "kinds", safetensors({kind: (kind, [2, 3], bytes(6 * size)) for kind, size in kinds.items()})
    # What tells scale and classes, without a byte of data: everything else is missing.
    tell = {
        "model.0.conv.weight": ("F32", [16, 0, 3, 3], b""),
        "model.23.cv3.0.2.weight": ("F32", [1, 64, 1, 1], bytes(256)),
    }
    meta = {"format": 1, "scale": "n", "nc": 1, "names": ["circle"], "imgsz": 64, "created_by": "azaion"}
    yield "telling", safetensors(tell, {"azaion": json.dumps(meta)})
    yield "empty", safetensors({})


for name, content in pickles():
    put("pickle", name, content)
for name, content in containers():
    put("weights", name, content)
for fixture in ("torch.pt", "ours.pt"):
    content = (FIXTURES / fixture).read_bytes()
    put("pt", fixture, content)
    put("weights", fixture, content)
    with zipfile.ZipFile(FIXTURES / fixture) as archive:
        put("pickle", fixture, next(archive.read(n) for n in archive.namelist() if n.endswith("/data.pkl")))
