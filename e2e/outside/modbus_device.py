#!/usr/bin/env python3
"""A Modbus barrier on pymodbus, an implementation that was not written for Kalong.

Prints `listening on 127.0.0.1:<port>`. Ends when its standard input closes.

Registers (all addresses counted from 0): input 0..5 serialNumber, 6..9 firmwareVersion, 10..25 imageDigest, 26 bootCount,
30..31 healthBits; holding 0 holdOpenMillis, 1 admission, 2..3 offset (signed), 4..11 location; input 40 admissionState,
41 occupancy; coil 0 lamp; discrete input 0 loop. The plant, which is this script, lets admissionState follow admission.
"""

import asyncio
import hashlib
import socket
import sys

from pymodbus.datastore import (
    ModbusDeviceContext,
    ModbusSequentialDataBlock,
    ModbusServerContext,
    ModbusSparseDataBlock,
)
from pymodbus.server import ModbusTcpServer


def ascii_words(text, count):
    raw = text.encode().ljust(count * 2, b"\0")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, count * 2, 2)]


def byte_words(raw):
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


async def main():
    inputs = {
        1: ascii_words("PYM-0007", 6) + ascii_words("3.1.4", 4) + byte_words(hashlib.sha256(b"image").digest()) + [12],
        31: [0x0001, 0x0002],
        41: [0, 3],
    }
    # pymodbus counts its blocks from 1, the wire from 0.
    input_block = ModbusSparseDataBlock(inputs)
    holding = ModbusSequentialDataBlock(1, [1500, 0, 0xFFFF, 0xFFF6] + ascii_words("Bac Luan", 8))
    device = ModbusDeviceContext(
        di=ModbusSequentialDataBlock(1, [1]),
        co=ModbusSequentialDataBlock(1, [0]),
        ir=input_block,
        hr=holding,
    )
    context = ModbusServerContext(devices={7: device}, single=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ModbusTcpServer(context, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    print(f"listening on 127.0.0.1:{port}", flush=True)

    async def plant():
        while True:
            admission = device.getValues(3, 1, 1)
            device.setValues(4, 40, admission)
            await asyncio.sleep(0.02)

    task = asyncio.ensure_future(plant())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    task.cancel()
    await server.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
