"""Compare rounds of real clients with their virtual times.

Each client is a process (real_client.py) that gets a share of a core, by SIGSTOP and SIGCONT, and
a link of known rates (shaped_links.py); the sender of a message waits for its latency. A real
client receives, trains and sends the same as its counterpart in the simulated round, from the same
weights, and all clients of a round begin at once.
"""

import json
import os
import select
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import IO, Any, cast

from fedmpi.bench.processes import Launch
from fedmpi.bench.real_client import receive, send
from fedmpi.bench.shaped_links import ShapedLink
from fedmpi.comm import codec
from fedmpi.comm.base import Bytes, Serial
from fedmpi.doctor.cores import THREADS
from fedmpi.errors import FedmpiError
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation

PERIOD = 0.002  # seconds between two looks at the CPU time of a client
CPU_CLOCK = 2  # of a process, among the clocks of Linux
# Share of a core, Mbit/s up and down, seconds of latency.
DEVICES = ((0.12, 4.0, 16.0, 0.02), (0.08, 2.0, 8.0, 0.05), (0.10, 8.0, 20.0, 0.03),
           (0.06, 3.0, 6.0, 0.1))  # fmt: skip
METHODS = {
    "FedAvg": 'name = "fedavg"',
    "HeteroFL": 'name = "heterofl"\nwidths = [1.0, 0.5]',
    "FedSkel": 'name = "fedskel"\nratio = 0.25',
}
EXPERIMENT = """
[run]
rounds = {rounds}
eval_every = {rounds}
[data]
name = "patterns"
images = 4000
[clients]
number = {clients}
per_round = {clients}
local_steps = {steps}
batch_size = 32
[model]
name = "lenet5"
[optimizer]
lr = 0.02
[algorithm]
{method}
[devices]
profile = "tiers"
"""
TIER = """[[devices.tiers]]
name = "{number}"
share = 1
gflop_s = {gflop_s}
up_mbit_s = {up}
down_mbit_s = {down}
latency_s = {latency}
"""


def experiment(method: str, clients: int, rounds: int, steps: int, rate: float) -> str:
    """Return the TOML of an experiment whose devices are the first of DEVICES.

    `rate` is the speed of a whole core in 10^9 FLOPs a second.
    """
    head = EXPERIMENT.format(rounds=rounds, clients=clients, steps=steps, method=METHODS[method])
    tiers = [
        TIER.format(number=number, gflop_s=share * rate, up=up, down=down, latency=latency)
        for number, (share, up, down, latency) in enumerate(DEVICES[:clients])
    ]
    return head + "".join(tiers)


class RealClient:
    """The process of one client, as the server sees it; `link` is None without a namespace."""

    def __init__(self, launch: Launch, number: int, link: ShapedLink | None) -> None:
        self.link, host = link, link.host if link else "127.0.0.1"
        with socket.create_server((host, 0)) as server:
            words = [*(link.prefix if link else ()), launch.python, *launch.switches,
                     "-m", "fedmpi.bench.real_client", number, host, server.getsockname()[1]]
            self._process = subprocess.Popen(
                list(map(str, words)), env=dict(launch.environ) | dict.fromkeys(THREADS, "1"),
                bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            # Not None, since they were opened as pipes.
            self._commands = cast("IO[bytes]", self._process.stdin)
            self._times = cast("IO[bytes]", self._process.stdout)
            server.settimeout(120)
            self._connection = server.accept()[0]
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._connection.close()

    def begin(self, config: Path, what: str = "config") -> None:
        """Let the client assemble an experiment, or with "reference" the experiment of `rate`."""
        self._say(json.dumps({what: str(config)}))
        self._reply()

    def rate(self, flops: float, share: float) -> float:
        """Return the 10^9 FLOPs a second of a core in the reference, which takes `flops` in all."""
        self._say(json.dumps({"work": True}))
        reply = self._reply()
        return flops / self._held(share, reply["received"], reply["used"]) / 1e9

    def round(self, number: int, message: Bytes, share: float, latency_s: float) -> dict[str, Any]:
        """Take the client through a round; return its seconds by part, and the bytes it sent."""
        self._say(json.dumps({"round": number, "latency_s": latency_s}))
        began = time.monotonic()
        send(self._connection, message, latency_s)
        reply = self._reply()
        received = reply["received"]
        cpu = self._held(share, received, reply["used"])
        done = time.monotonic()
        self._say("")
        answer = receive(self._connection)
        end = time.monotonic()
        parts = {"share": share, "down": received - began, "compute": done - received,
                 "up": end - done}
        return parts | {"total": end - began, "cpu": cpu, "bytes": len(answer)}

    def _held(self, share: float, began: float, used: float) -> float:
        """Hold the process to its share of a core until it is done; return its CPU seconds.

        It `began` at this time, and had `used` this many CPU seconds before.
        """
        pid = self._process.pid
        while not select.select([self._times], [], [], PERIOD)[0]:
            ahead = self._used() - used > share * (time.monotonic() - began)
            os.kill(pid, signal.SIGSTOP if ahead else signal.SIGCONT)
        os.kill(pid, signal.SIGCONT)  # it may have been stopped just after its reply
        cpu = self._reply()["cpu"]
        # Wait until the simulated device would also be done.
        time.sleep(max(0.0, (self._used() - used) / share - (time.monotonic() - began)))
        return float(cpu)

    def _used(self) -> float:
        """Return the CPU seconds that the process has used."""
        return time.clock_gettime(~self._process.pid << 3 | CPU_CLOCK)

    def _say(self, text: str) -> None:
        self._commands.write(text.encode() + b"\n")

    def _reply(self) -> dict[str, Any]:
        line = self._times.readline()
        if not line:
            raise FedmpiError("bench world: a client's process has ended; its output is above")
        return dict(json.loads(line))


def rounds_of(
    clients: list[RealClient], text: str, rate: float, folder: Path, flops: float = 0.0
) -> list[list[dict[str, Any]]]:
    """Run the `experiment` in `text`, simulated and real; return a dict for each round and client.

    Real seconds are "down", "compute", "up", "total", "cpu"; virtual seconds are "virtual_down" and
    so on; "flops" are the FLOPs of the cost model. All clients take part in every round. `rate` is
    the speed of a core in 10^9 FLOPs a second. With `flops`, the FLOPs of the reference, each
    client runs the reference before each round, and its speed there determines its share.
    """
    config = folder / "experiment.toml"
    config.write_text(text)
    simulation = Simulation(assemble(resolve.read(config), Serial(), Path()), Serial(), NoSignals())
    made, found = simulation.experiment, []
    shares = usual = (made.devices.gflop_s / rate).tolist()
    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(lambda client: client.begin(config), clients))
        for number, client in enumerate(clients):
            if client.link:
                client.link.shape(made.devices.up_mbit_s[number], made.devices.down_mbit_s[number])
        for round in range(made.config.run.rounds):
            plans = [made.plan(simulation.state, round, number) for number in range(len(clients))]
            weights = simulation.state["weights"]
            sent = [codec.encode(weights, plan.down, known=plan.known) for plan in plans]
            record = simulation.round()
            if record is None:
                raise FedmpiError(f"bench world: round {round} of the simulation was stopped")
            if flops:
                rates = threads.map(RealClient.rate, clients, repeat(flops), usual)
                shares = (made.devices.gflop_s / list(rates)).tolist()
            latency = (made.devices.latency_s * bool(clients[0].link)).tolist()
            real = threads.map(RealClient.round, clients, repeat(round), sent, shares, latency)
            found.append([beside(*pair) for pair in zip(real, record.clients, strict=True)])
    return found


def beside(real: dict[str, Any], row: Any) -> dict[str, Any]:
    """Return a client's real seconds with the virtual seconds of its CLIENT row."""
    if real["bytes"] != row["bytes_up"]:
        raise FedmpiError(f"bench world: client {row['client']} sent {real['bytes']} bytes, but "
                          f"{row['bytes_up']} bytes in the simulation")
    parts = {part: float(row[f"seconds_{part}"]) for part in ("down", "compute", "up")}
    virtual = {f"virtual_{part}": seconds for part, seconds in parts.items()}
    return real | virtual | {"virtual_total": sum(parts.values()), "flops": int(row["flops"])}
