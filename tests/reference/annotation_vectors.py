#!/usr/bin/env python3
"""Writes src/annotation/tests/vectors.txt: annotation messages made without any of the project's own code.

MessagePack comes from the `msgpack` package, gzip and JSON from Python's library, and AMQP 1.0 from the few lines
below, written from the OASIS specification. Each line of the output is `name hexadecimal`. Run it in an environment
that has msgpack 1.2:

    python3 tests/reference/annotation_vectors.py > src/annotation/tests/vectors.txt

The output does not depend on the time; the gzip vectors may differ in bytes, not in meaning, with another zlib.
"""

import gzip
import json
import struct

import msgpack

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
CREATED = msgpack.Timestamp(1774708200, 0)
BOXES = [
    {"cls": 0, "x": 0.586719, "y": 0.576042, "w": 0.360938, "h": 0.414583, "confidence": 0.875},
    {"cls": 2, "x": 0.25, "y": 1e-7, "w": 0.0625, "h": 2e-7},
]


# AMQP 1.0


def variable(code8, code32, payload):
    if len(payload) < 256:
        return bytes([code8, len(payload)]) + payload
    return bytes([code32]) + struct.pack(">I", len(payload)) + payload


def string(text):
    return variable(0xA1, 0xB1, text.encode())


def symbol(text):
    return variable(0xA3, 0xB3, text.encode())


def binary(payload):
    return variable(0xA0, 0xB0, payload)


def compound(code32, items):
    inside = struct.pack(">I", len(items)) + b"".join(items)
    return bytes([code32]) + struct.pack(">I", len(inside)) + inside


def amqp_list(*items):
    return compound(0xD0, items)


def amqp_map(*items):
    return compound(0xD1, items)


def smallulong(number):
    return bytes([0x53, number])


def section(number, value, by_name=None):
    descriptor = symbol(by_name) if by_name else smallulong(number)
    return b"\x00" + descriptor + value


def message(body, *properties):
    head = section(0x74, amqp_map(*properties)) if properties else b""
    return head + section(0x75, binary(body))


INT = b"\x71\x00\x00\x00"
KEY = string("AnnotationStatus")


# Bodies


def annotation(status=10, created=CREATED, boxes=BOXES, image=JPEG, role=20, source=1, name="cell-1", time=1500000):
    return [created, name, "slide 7.png", time, ".jpg", json.dumps(boxes), image, role, "someone@example.org", source, status]


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def vectors():
    created = pack(annotation())
    yield "created_string_key_int", message(created, KEY, INT + b"\x0a")
    yield "created_symbol_key_ubyte", message(created, symbol("AnnotationStatus"), b"\x50\x0a")
    yield "created_long", message(created, KEY, b"\x81" + struct.pack(">q", 10))
    yield "created_name", message(created, KEY, string("cReAtEd"))
    yield "created_symbol_name", message(created, KEY, symbol("Created"))
    yield "created_no_property", message(created)
    yield "created_other_properties", message(created, string("a"), b"\x41", KEY, b"\x54\x0a", string("z"), amqp_list(b"\x40"))
    yield "created_gzip", message(gzip.compress(created, mtime=0), KEY, b"\x54\x0a")
    yield "created_map", message(pack(dict(enumerate(annotation()))), KEY, b"\x54\x0a")
    yield "created_map_reversed", message(pack(dict(reversed(list(enumerate(annotation()))))))
    yield "created_tail", message(pack(annotation() + [{"a": [1, None]}, 2.5]) + b"\xc1\xc1", KEY, b"\x54\x0a")
    wide_names = [
        {"classNum": b["cls"], "centerX": b["x"], "centerY": b["y"], "width": b["w"], "height": b["h"], "id": "q"} for b in BOXES
    ]
    wide_names[0]["confidence"] = 0.875
    yield "created_long_keys", message(pack(annotation(boxes=wide_names)))

    all_sections = b"".join(
        [
            section(0x70, amqp_list(b"\x41", b"\x50\x04", b"\x70\x00\x00\x03\xe8")),
            section(0x71, amqp_map(symbol("x-d"), INT + b"\x01")),
            section(0x72, amqp_map(symbol("x-m"), string("v"))),
            section(0x73, amqp_list(string("id-1"), b"\x40", b"\x40", b"\x40", b"\x40", b"\x40", symbol("application/msgpack"))),
            section(0x74, amqp_map(KEY, b"\x54\x0a"), "amqp:application-properties:map"),
            section(0x75, binary(created[:40]), "amqp:data:binary"),
            section(0x75, binary(created[40:])),
            section(0x78, amqp_map(symbol("x-f"), b"\x42")),
        ]
    )
    yield "created_all_sections", all_sections
    yield "created_amqp_value", section(0x74, amqp_map(KEY, b"\x54\x0a")) + section(0x77, binary(created))

    yield "created_timestamp_64", message(pack(annotation(created=msgpack.Timestamp(1774708200, 123456789))))
    yield "created_timestamp_96", message(pack(annotation(created=msgpack.Timestamp(-1, 5))))
    yield "created_background", message(pack(annotation(boxes=[])))
    yield "edited_nil_image", message(pack(annotation(status=20, image=None, role=10)), KEY, b"\x54\x14")
    yield "edited_empty_image", message(pack(annotation(status=20, image=b"", role=1000)), KEY, b"\x54\x14")
    yield "edited_with_image", message(pack(annotation(status=20, role=40, source=0)), KEY, string("edited"))

    names = ["cell-1", "no/name", "cell-2"]
    yield "validated_full", message(pack([names, 30, "someone@example.org", CREATED]), KEY, b"\x54\x1e")
    yield "validated_names_only", message(pack([names]), KEY, string("VALIDATED"))
    yield "deleted_map", message(pack({1: 40, 0: names}))

    # What must be refused: `bad_<kind of error>_<what>`.
    yield "bad_amqp_plain_msgpack", created
    yield "bad_amqp_sequence", section(0x76, amqp_list(binary(created)))
    yield "bad_amqp_no_body", section(0x70, amqp_list())
    yield "bad_status-unknown_zero", message(created, KEY, b"\x43")
    yield "bad_status-unknown_minus_five", message(created, KEY, b"\x54\xfb")
    yield "bad_status-unknown_name", message(created, KEY, string("Approved"))
    yield "bad_status-unknown_bool", message(created, KEY, b"\x41")
    yield "bad_status-disagrees_property_edited", message(created, KEY, b"\x54\x14")
    yield "bad_status-disagrees_bulk", message(pack([names, 30]), KEY, b"\x54\x28")
    yield "bad_status-missing_annotation", message(pack(annotation()[:10]))
    yield "bad_status-missing_bulk", message(pack([names]))
    yield "bad_layout_one_annotation_validated", message(pack(annotation(status=30)))
    yield "bad_layout_names_created", message(pack([names, 10]))
    yield "bad_field_status_zero", message(pack(annotation(status=0)))
    yield "bad_field_property_and_shape", message(pack([names, 30]), KEY, b"\x54\x0a")
    yield "bad_field_role", message(pack(annotation(role=11)))
    yield "bad_field_source", message(pack(annotation(source=2)))
    yield "bad_field_date_as_text", message(pack(annotation(created="2026-03-28")))
    yield "bad_field_time_as_float", message(pack(annotation(time=1.5)))
    yield "bad_field_time_too_large", message(pack(annotation(time=2**63)))
    yield "bad_field_short", message(pack(annotation()[:5]), KEY, b"\x54\x0a")
    yield "bad_field_image_as_text", message(pack(annotation(image="pixels")))
    yield "bad_field_name_nil", message(pack(annotation(name=None)))
    yield "bad_field_twice", message(b"\x8c" + pack(1) + pack("cell-2") + pack(dict(enumerate(annotation())))[1:])
    yield "bad_field_bulk_number", message(pack([["cell-1", 7], 30]))
    yield "bad_image-missing_nil", message(pack(annotation(image=None)))
    yield "bad_image-missing_empty", message(pack(annotation(image=b"")))
    yield "bad_name_path", message(pack(annotation(name="../someone@example.org")))
    yield "bad_name_too_long", message(pack(annotation(name="a" * 129)))
    yield "bad_detections_nan", message(pack(annotation(boxes=[BOXES[0], {**BOXES[1], "w": float("nan")}])))
    yield "bad_detections_class_80", message(pack(annotation(boxes=[{**BOXES[0], "cls": 80}])))
    yield "bad_detections_outside", message(pack(annotation(boxes=[{**BOXES[0], "x": 1.5}])))
    yield "bad_detections_missing_key", message(pack(annotation(boxes=[{"cls": 0}])))
    yield "bad_messagepack_string_keys", message(pack({"name": "cell-1"}))
    yield "bad_messagepack_number", message(pack(5))
    yield "bad_messagepack_truncated", message(created[:-30], KEY, b"\x54\x0a")
    yield "bad_messagepack_deep_tail", message(b"\x9c" + created[1:] + b"\x91" * 100, KEY, b"\x54\x0a")
    yield "bad_gzip_truncated", message(gzip.compress(created, mtime=0)[:-4])


if __name__ == "__main__":
    for name, raw in vectors():
        print(name, raw.hex())
