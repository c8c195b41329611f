#!/usr/bin/env python3
"""Publishes records to a stream with rstream 1.1, as they are: a record is its length (4 bytes, network order) and its bytes.

    publish.py PORT USER PASSWORD STREAM PLAIN|none|gzip TOGETHER < records

TOGETHER messages are sent at a time: plain in one batch, else packed together as one entry with that compression. Every
message is confirmed before the program ends.
"""

import asyncio
import struct
import sys

from rstream import CompressionType, Producer

COMPRESSIONS = {"none": CompressionType.No, "gzip": CompressionType.Gzip}


def records(stream):
    while header := stream.read(4):
        yield stream.read(struct.unpack(">I", header)[0])


async def main(port, user, password, stream, kind, together):
    messages = list(records(sys.stdin.buffer))
    groups = [messages[i : i + int(together)] for i in range(0, len(messages), int(together))]
    confirmed = asyncio.Semaphore(0)

    def on_confirm(status):
        if not status.is_confirmed:
            sys.exit(f"not confirmed: {status.response_code}")
        confirmed.release()

    # The messages may be larger than the client's own limit of 1 MB.
    async with Producer(
        "127.0.0.1", int(port), username=user, password=password, frame_max=256 << 20, default_batch_publishing_delay=0.05
    ) as producer:
        for group in groups:
            if kind == "plain":
                await producer.send_batch(stream, group, on_publish_confirm=on_confirm)
            else:
                await producer.send_sub_entry(stream, group, COMPRESSIONS[kind], on_publish_confirm=on_confirm)
        for _ in range(len(messages) if kind == "plain" else len(groups)):
            await asyncio.wait_for(confirmed.acquire(), 60)


asyncio.run(main(*sys.argv[1:]))
