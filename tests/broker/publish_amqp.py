#!/usr/bin/env python3
"""Publishes messages that rstream 1.1 encodes as AMQP 1.0, each with a status of another type or with other sections.

    publish_amqp.py PORT USER PASSWORD STREAM

Every message withdraws or approves the annotation `cell-1` (a bulk message without a status of its own, so the application
property AnnotationStatus decides). For each one a line is printed: a name, the number that the property holds, and the
message's bytes in hexadecimal.
"""

import asyncio
import sys
import uuid

import msgpack
from rstream import AMQPMessage, Producer
from rstream._pyamqp.message import Header, Properties

BODY = msgpack.packb([["cell-1"]])
KEY = "AnnotationStatus"
# What rstream writes for these: the least width that holds the number for int, uint, long and ulong, one width else.
INTEGERS = {
    "UBYTE": [0, 30, 251, 255],
    "BYTE": [30, -5, -128, 127],
    "USHORT": [30, 40, 251, 65535],
    "SHORT": [30, -5, -30, -32768],
    "UINT": [0, 30, 255, 256, 4294967295],
    "INT": [40, -5, -30, -128, -129, 2147483647, -2147483648],
    "ULONG": [0, 40, 255, 256, 18446744073709551615],
    "LONG": [30, -5, -40, -128, -129, 9223372036854775807, -9223372036854775808],
}


def integers():
    for kind, numbers in INTEGERS.items():
        for number in numbers:
            properties = {KEY: {"TYPE": kind, "VALUE": number}}
            yield f"{kind.lower()}({number})", number, AMQPMessage(body=BODY, application_properties=properties)
    for number in [30, 40, -5]:
        yield f"python({number})", number, AMQPMessage(body=BODY, application_properties={KEY: number})


def sections():
    status = {KEY: 40}
    every = {
        "header": Header(durable=True, priority=9, ttl=60000, first_acquirer=True, delivery_count=3),
        # rstream 1.1.1 leaves these out.
        "delivery_annotations": {b"x-opt-basket": {"TYPE": "STRING", "VALUE": "pears"}},
        "message_annotations": {b"x-opt-row": {"TYPE": "LONG", "VALUE": -7}, b"x-opt-ripe": {"TYPE": "BOOL", "VALUE": True}},
        "properties": Properties(
            message_id=uuid.UUID(int=7),
            user_id=b"grower",
            to="market",
            subject="cells",
            reply_to="orchard",
            correlation_id=b"\x00\xff",
            content_type="application/msgpack",
            content_encoding="identity",
            absolute_expiry_time=1774708200000,
            creation_time=1774708200000,
            group_id="crate",
            group_sequence=4294967295,
            reply_to_group_id="crates",
        ),
        "application_properties": status
        | {"text": "x" * 300, "double": 0.5, "flag": False, "nothing": None, "id": {"TYPE": "UUID", "VALUE": uuid.UUID(int=1)}},
        "footer": {b"x-sum": {"TYPE": "UINT", "VALUE": 1}},
    }
    for name, section in every.items():
        yield name, 40, AMQPMessage(body=BODY, **({"application_properties": status} | {name: section}))
    yield "all", 40, AMQPMessage(body=BODY, **every)


async def main(port, user, password, stream):
    messages = [*integers(), *sections()]
    async with Producer("127.0.0.1", int(port), username=user, password=password) as producer:
        for name, number, message in messages:
            await producer.send_wait(stream, message)
            print(name, number, bytes(message).hex())


asyncio.run(main(*sys.argv[1:]))
