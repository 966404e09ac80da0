"""Emulated nodes on this machine: ranks in separate network namespaces with a shaped network.

Each rank has one end of a link to a bridge, and a token bucket shapes the traffic of each end. The
network is thus one switch with a port of a given rate for each node. It uses jumbo frames, as
clusters do: with frames of 1,500 bytes, TCP got 60 to 80 % of the rate of slow links when all nodes
sent and received at once. It needs Linux, iproute2, root, and MPICH over UCX, which is kept from
using shared memory. The cores are those of this machine: with more ranks than cores, ranks also
wait for a core.
"""

import os

from fedmpi.bench.shaped_links import NETWORK, QUEUE, RULE, call, remove, remove_leftovers

MTU = 9000  # bytes of a frame without Ethernet's header of 14 bytes
FRAME = (MTU + 14) / (MTU - 52)  # bytes of a full frame over the message bytes in it
# No IPv6 address: other MPI programs that start meanwhile would use such a link as their network.
NAMELESS = "addrgenmode", "none"
# The buckets drop nothing, but TCP would resend packets that wait in them for more than 0.2 s.
PATIENCE = "5s"
# A sender may fill its link at once. BBR estimates too low a rate if a few long messages come
# between pauses, as in rounds.
OPEN = "initcwnd", "1000", "initrwnd", "1000", "congctl", RULE
AT_ONCE = 1e-4  # seconds of the rate that may be sent at once; timers need about this much
APART = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}  # every rank is a node, and uses TCP


class EmulatedNodes:
    """`count` nodes on a network of `gbit_s` 10^9 bits a second; created on entering `with`.

    Attributes
    ----------
    environ : dict
        Variables for the launcher.
    """

    environ = APART

    def __init__(self, count: int, gbit_s: float) -> None:
        self.count, self._bits = count, 1e9 * gbit_s * FRAME
        self._bridge = f"fmb{os.getpid()}"
        self._names = [f"{self._bridge}-{number}" for number in range(count)]

    def __enter__(self) -> "EmulatedNodes":
        remove_leftovers()
        try:
            call("ip", "link", "add", self._bridge, "type", "bridge")
            call("ip", "link", "set", self._bridge, "mtu", str(MTU), *NAMELESS)
            call("ip", "link", "set", self._bridge, "up")
            for number, name in enumerate(self._names):
                self._join(number, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        remove([*(f"{name}h" for name in self._names), self._bridge], self._names)

    def launch(self, mpiexec: tuple[str, ...], words: list[str]) -> list[str]:
        """Return the command that runs `words` on one rank of each node.

        `mpiexec` holds the words that start ranks, without their number.
        """
        started = [mpiexec[0]]
        for name in self._names:
            inside = ["ip", "netns", "exec", name, "env", f"UCX_NET_DEVICES={name}c"]
            started += [":"] if len(started) > 1 else []
            started += [*mpiexec[1:], "1", *inside, *words]
        return started

    def _join(self, number: int, name: str) -> None:
        """Create a namespace and its link to the bridge."""
        here, there = f"{name}h", f"{name}c"
        subnet = f"{NETWORK}.{os.getpid() % 250}"
        address = f"{subnet}.{number + 1}"
        call("ip", "netns", "add", name)
        sized = "mtu", str(MTU)
        call("ip", "link", "add", here, *sized, "type", "veth", "peer", "name", there, *sized)
        call("ip", "link", "set", there, "netns", name)
        call("ip", "link", "set", here, "master", self._bridge, *NAMELESS)
        call("ip", "link", "set", here, "up")
        call("ip", "-n", name, "addr", "add", f"{address}/24", "dev", there)
        call("ip", "-n", name, "link", "set", there, "up")
        route = f"{subnet}.0/24", "dev", there, "proto", "kernel", "scope", "link", "src", address
        call("ip", "-n", name, "route", "change", *route, "rto_min", PATIENCE, *OPEN)
        call("ip", "-n", name, "link", "set", "lo", "up")
        burst = str(max(MTU + 14, round(self._bits / 8 * AT_ONCE)))  # less would drop every frame
        bucket = ("rate", str(round(self._bits)), "burst", burst, "limit", str(QUEUE))
        for where, end in (((), here), (("-n", name), there)):
            call("tc", *where, "qdisc", "replace", "dev", end, "root", "tbf", *bucket)
