"""A client as a separate process: it receives a model by TCP, trains, and sends its answer.

    python -m fedmpi.bench.real_client CLIENT HOST PORT

Separately from the messages, it reads commands and writes times as lines of JSON:
{"config": PATH} assembles an experiment; {"round": R, "latency_s": L} takes part in a round,
up to the encoding of the answer; an empty line sends the answer. {"reference": PATH} assembles
another experiment, and {"work": true} takes part in its first round without a message.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fedmpi.comm import codec
from fedmpi.comm.base import Bytes, Serial
from fedmpi.comm.orphan import dying_with_parent
from fedmpi.exchange import Job
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.layout import Support
from fedmpi.round.visit import visits

LENGTH = 8  # bytes before each message that hold its length


def send(connection: socket.socket, message: Bytes, latency_s: float) -> None:
    """Send a message after the latency of the link."""
    time.sleep(latency_s)
    connection.sendall(len(message).to_bytes(LENGTH, "little") + bytes(message))


def receive(connection: socket.socket) -> bytes:
    """Return the next message."""
    return _exactly(connection, int.from_bytes(_exactly(connection, LENGTH), "little"))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise EOFError("the other end of the connection has closed it")
        view = view[got:]
    return bytes(data)


class Client:
    """A client's own experiment, with its memory between rounds."""

    def __init__(self, config: str, number: int) -> None:
        self._experiment = assemble(resolve.read(config), Serial(), Path())
        self._number, self._memory = number, self._experiment.memories
        self._server = self._experiment.server()
        self._unknown = {"weights": np.zeros(self._experiment.layout.size, np.float32)}
        plan = self._experiment.plan(self._unknown, 0, number)
        self._experiment.engine.layout_of(plan.submodel)  # builds the client's network

    @property
    def first(self) -> memoryview:
        """The message of a server with the first weights."""
        layout = self._experiment.layout
        return codec.encode(self._experiment.weights, Support.all(layout))

    def answer(self, message: Bytes, round: int) -> memoryview:
        """Return the client's encoded answer to a message of the server."""
        experiment, number = self._experiment, self._number
        known = experiment.plan(self._unknown, round, number).down
        weights, _ = codec.decode(message, experiment.layout, known=known)
        state = {"weights": weights}
        plan = experiment.plan(state, round, number)
        job = Job(number, round, state, plan, 1.0)
        (done,) = visits(self._server, experiment.engine, [job])
        if done.memory is not None:
            self._memory.prepare(number, done.memory)
            self._memory.commit()
        if done.arrival is None:
            raise SystemExit(f"bench world: client {number} is rejected: {done.reason}")
        part = done.arrival.parts["weights"]
        return codec.encode(part.values, part.support, known=part.support == plan.down)


def serve(number: int, connection: socket.socket, commands: BinaryIO, times: BinaryIO) -> None:
    """Execute commands until there are no more."""
    for line in iter(commands.readline, b""):
        asked = json.loads(line)
        if "config" in asked:
            client = Client(asked["config"], number)
            _tell(times, {})
        elif "reference" in asked:
            reference = Client(asked["reference"], number)
            _tell(times, {})
        elif "work" in asked:
            _timed(times, reference, reference.first, 0)
        else:
            answer = _timed(times, client, receive(connection), asked["round"])
            commands.readline()
            send(connection, answer, asked["latency_s"])


def _timed(times: BinaryIO, client: Client, message: Bytes, round: int) -> memoryview:
    """Return a client's answer, and write its start time and CPU time."""
    began = time.process_time()
    _tell(times, {"received": time.monotonic(), "used": began})
    answer = client.answer(message, round)
    _tell(times, {"cpu": time.process_time() - began})
    return answer


def _tell(times: BinaryIO, found: dict[str, float]) -> None:
    times.write(json.dumps(found).encode() + b"\n")
    times.flush()


if __name__ == "__main__":
    number, host, port = sys.argv[1:]
    # The server may die while it has stopped this process; then no other would end it.
    with dying_with_parent(), socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(int(number), connection, sys.stdin.buffer, sys.stdout.buffer)
