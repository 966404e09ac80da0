"""SimGrid's replay, to check ours: the same messages as time-independent traces, by smpirun."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fedmpi.bench.replay import ModelledNetwork, Round, trace
from fedmpi.errors import FedmpiError

# One switch with full-duplex links; a message crosses two links.
PLATFORM = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <zone id="all" routing="Full">
    <cluster id="c" prefix="h" suffix="" radical="0-{last}" speed="1Gf" bw="{bandwidth}Bps"
      lat="{latency}s" sharing_policy="SPLITDUPLEX"/>
  </zone>
</platform>
"""
# SimGrid's default factors were fitted to another cluster.
PLAIN = (
    "smpi/bw-factor:0:1", "smpi/lat-factor:0:1", "network/TCP-gamma:0", "network/weight-S:0",
    "network/bandwidth-factor:1", "network/latency-factor:1",
)  # fmt: skip
TIMEOUT = 120.0  # seconds


def found() -> bool:
    """Return whether SimGrid's smpirun is installed (Debian: python3-simgrid, libsimgrid-dev)."""
    return shutil.which("smpirun") is not None


def bare(network: ModelledNetwork) -> ModelledNetwork:
    """Return a ModelledNetwork without overheads and handshakes, which SimGrid's model lacks."""
    return replace(network, overhead=0.0, handshake=0.0)


def seconds(rounds: Iterable[Round], ranks: int, network: ModelledNetwork) -> float:
    """Return SimGrid's seconds for the rounds on a `bare` network. Raises FedmpiError."""
    platform = PLATFORM.format(
        last=ranks - 1, bandwidth=1 / network.per_byte, latency=network.latency / 2
    )
    with TemporaryDirectory(prefix="fedmpi-simgrid-") as folder:
        names = [f"{rank}.txt" for rank in range(ranks)]
        for name, lines in zip(names, trace(rounds, ranks), strict=True):
            Path(folder, name).write_text("\n".join(lines) + "\n")
        Path(folder, "traces").write_text("\n".join(names) + "\n")
        Path(folder, "hosts").write_text("".join(f"h{rank}\n" for rank in range(ranks)))
        Path(folder, "platform.xml").write_text(platform)
        words = ["smpirun", "-np", str(ranks), "-platform", "platform.xml", "-hostfile", "hosts"]
        words += ["-replay", "traces", *(f"--cfg={option}" for option in PLAIN)]
        try:
            done = subprocess.run(
                words, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FedmpiError(f"bench scale: {error}") from None
    text = done.stdout + done.stderr
    times = re.findall(r"Simulation time ([\d.]+)", text)
    if not times:
        raise FedmpiError("bench scale: smpirun: " + "\n".join(text.strip().splitlines()[-2:]))
    return float(times[-1])
