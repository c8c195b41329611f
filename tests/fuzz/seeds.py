"""Seeds of the fuzz targets, from the standard library and the committed fixtures alone.

    python3 tests/fuzz/seeds.py        writes tests/fuzz/seeds/TARGET/NAME, the same bytes every time
"""

import gzip
import json
import pathlib
import pickle
import struct
import zipfile
import zlib

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


def word(value):
    return struct.pack(">h", len(value)) + value.encode()


def frame(key, content):
    return struct.pack(">IHH", len(content) + 4, key, 1) + content


def frames():
    """What a broker sends, the chunks apart."""
    ok = struct.pack(">IH", 1, 1)
    yield "properties", frame(0x8011, ok + struct.pack(">I", 1) + word("version") + word("4.0.5"))
    yield "handshake", frame(0x8012, ok + struct.pack(">I", 2) + word("PLAIN") + word("AMQPLAIN"))
    yield "tune", frame(20, struct.pack(">II", 1 << 20, 60))
    broker = struct.pack(">IH", 1, 0) + word("localhost") + struct.pack(">I", 5552)
    stream = struct.pack(">I", 1) + word("cells") + struct.pack(">HHIH", 1, 0, 1, 0)
    yield "metadata", frame(0x800F, struct.pack(">I", 1) + broker + stream)
    yield "update", frame(16, struct.pack(">H", 6) + word("cells"))
    yield "stats", frame(0x801C, ok + struct.pack(">I", 1) + word("committed_chunk_id") + struct.pack(">q", -1))
    yield "close", frame(22, ok + word("bye"))
    yield "consumer", frame(26, struct.pack(">IBB", 1, 0, 1))
    yield "credit", frame(0x8009, struct.pack(">HB", 4, 0))
    yield "heartbeat", frame(23, b"")


# "\0\0\0\1a\0\0\0\2bc" in the formats that the standard library does not write.
SNAPPY = bytes.fromhex("ff060000734e61507059010f00001c97c92b0000000161000000026263")
LZ4 = bytes.fromhex("04224d186040820b000080000000016100000002626300000000")
ZSTD = bytes.fromhex("28b52ffd0438590000000000016100000002626310edb70b")


def chunk(entries, records):
    data = b"".join(entries)
    numbers = struct.pack(">BBHIqQQ", 0x50, 0, len(entries), records, 0, 1, 7)
    return b"\x10" + numbers + struct.pack(">IIII", zlib.crc32(data), len(data), 0, 0) + data


def chunks():
    """A byte that says how they arrive, then the chunk."""
    plain = b"\0\0\0\1a\0\0\0\2bc"
    bodies = [plain, gzip.compress(plain, mtime=0), SNAPPY, LZ4, ZSTD]
    packed = [struct.pack(">BHII", 0x80 | kind << 4, 2, len(plain), len(body)) + body for kind, body in enumerate(bodies)]
    yield "plain", chunk([plain[:5], plain[5:]], 2)
    yield "empty", chunk([], 0)
    for name, entry in zip(("none", "gzip", "snappy", "lz4", "zstd"), packed):
        yield name, chunk([entry, plain[:5]], 3)
    yield "all", chunk(packed, 10)


for name, content in frames():
    put("frames", name, content)
for name, content in chunks():
    put("chunks", name, content)
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
