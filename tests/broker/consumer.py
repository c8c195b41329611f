"""The peer of `cargo xtask bench queue`: a consumer as one writes it with rstream. It decodes each message, writes image and
label, and after them the offset, and syncs nothing.

    consumer.py PORT USER PASSWORD STREAM COUNT FOLDER

Prints one line, `{"messages": COUNT, "seconds": S}`: from the subscription to the last message's offset.
"""

import asyncio
import json
import os
import sys
import time

import msgpack
from rstream import (
    AMQPMessage,
    Consumer,
    ConsumerOffsetSpecification,
    MessageContext,
    OffsetType,
    amqp_decoder,
)

VALIDATORS = {20, 40, 1000}


class Tree:
    def __init__(self, root):
        self.root = root
        for home in ("data", "data-seed"):
            for kind in ("images", "labels"):
                os.makedirs(os.path.join(root, home, kind), exist_ok=True)

    def write(self, annotation, offset):
        name, detections, image, role = annotation[1], annotation[5], annotation[6], annotation[7]
        home = os.path.join(self.root, "data" if role in VALIDATORS else "data-seed")
        with open(os.path.join(home, "images", name + ".jpg"), "wb") as file:
            file.write(image)
        rows = [f"{d['cls']} {d['x']} {d['y']} {d['w']} {d['h']}\n" for d in json.loads(detections)]
        with open(os.path.join(home, "labels", name + ".txt"), "w") as file:
            file.write("".join(rows))
        with open(os.path.join(self.root, "offset.yaml"), "w") as file:
            file.write(f"offset: {offset + 1}\n")


async def main():
    port, user, password, stream, count, folder = sys.argv[1:]
    count = int(count)
    tree = Tree(folder)
    consumer = Consumer(host="127.0.0.1", port=int(port), username=user, password=password)
    seen = 0
    done = asyncio.Event()

    async def take(message: AMQPMessage, context: MessageContext):
        nonlocal seen
        tree.write(msgpack.unpackb(message.body, timestamp=3), context.offset)
        seen += 1
        if seen == count:
            done.set()

    await consumer.start()
    start = time.monotonic()
    await consumer.subscribe(
        stream=stream,
        callback=take,
        decoder=amqp_decoder,
        offset_specification=ConsumerOffsetSpecification(OffsetType.FIRST, None),
    )
    await done.wait()
    print(json.dumps({"messages": seen, "seconds": time.monotonic() - start}), flush=True)
    # Closing waits for nothing that is of interest here.
    os._exit(0)


asyncio.run(main())
