"""Links of a known rate on this machine, each a network namespace and a shaped pair of ends.

They need Linux, `ip` and `tc` (iproute2), and permission to create network namespaces (root). A
token bucket shapes each direction. Rates are those of the message payload, as in speed tests, so
the bucket's rate is larger by the headers of TCP, IP and Ethernet.
"""

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from fedmpi.errors import FedmpiError

FRAME = 1514 / 1448  # bytes of a full Ethernet frame over the message bytes in it
BURST = 5000  # bytes that may be sent at once: three frames
QUEUE = 100_000_000  # bytes that are queued rather than dropped
RULE = "reno"  # TCP's congestion control; BBR, the default of some systems, guesses link rates
NETWORK = "198.18"  # addresses for measurements of networks (RFC 2544)
LINKS, SPACES = Path("/sys/class/net"), Path("/run/netns")  # where Linux and `ip netns` list them


class ShapedLink:
    """A link between this process and a namespace, for one client; created on entering `with`.

    Attributes
    ----------
    host, client : str
        The addresses of the ends.
    prefix : list of str
        Words that start a program in the namespace.
    """

    def __init__(self, number: int) -> None:
        self._name = f"fm{os.getpid()}-{number}"
        self._ends = f"{self._name}h", f"{self._name}c"
        block = f"{NETWORK}.{os.getpid() % 250}.{4 * number}".rpartition(".")[0]
        self.host, self.client = f"{block}.{4 * number + 1}", f"{block}.{4 * number + 2}"
        self._subnet = f"{block}.{4 * number}/30"
        self.prefix = ["ip", "netns", "exec", self._name]

    def __enter__(self) -> "ShapedLink":
        remove_leftovers()
        name, (here, there) = self._name, self._ends
        try:
            call("ip", "netns", "add", name)
            call("ip", "link", "add", here, "type", "veth", "peer", "name", there)
            call("ip", "link", "set", there, "netns", name)
            call("ip", "addr", "add", f"{self.host}/30", "dev", here)
            call("ip", "-n", name, "addr", "add", f"{self.client}/30", "dev", there)
            call("ip", "link", "set", here, "up")
            call("ip", "-n", name, "link", "set", there, "up")
            call("ip", *_route(self._subnet, here, self.host))
            call("ip", "-n", name, *_route(self._subnet, there, self.client))
            self.shape(1000.0, 1000.0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        remove([self._ends[0]], [self._name])

    def shape(self, up_mbit_s: float, down_mbit_s: float) -> None:
        """Set the rates of the link, in 10^6 bits of message payload a second."""
        here, there = self._ends
        for where, end, rate in (((), here, down_mbit_s), (("-n", self._name), there, up_mbit_s)):
            bits = str(round(1e6 * rate * FRAME))
            bucket = ("rate", bits, "burst", str(BURST), "limit", str(QUEUE))
            call("tc", *where, "qdisc", "replace", "dev", end, "root", "tbf", *bucket)


def _route(subnet: str, end: str, source: str) -> tuple[str, ...]:
    """Return the words that set the congestion control RULE on the route of a link."""
    as_made = "proto", "kernel", "scope", "link", "src", source  # when the address was added
    return "route", "change", subnet, "dev", end, *as_made, "congctl", RULE


def remove(links: list[str], spaces: list[str]) -> None:
    """Delete links and namespaces by name, if they exist."""
    for words in (*(("link", "del", name) for name in links),
                  *(("netns", "del", name) for name in spaces)):
        with suppress(FedmpiError):
            call("ip", *words)


def remove_leftovers() -> None:
    """Delete the links, bridges and namespaces of processes that were killed.

    Their names begin with fm or fmb and the number of the process. Addresses left behind could
    clash with those of new links.
    """
    links, spaces = (
        [name for name in (os.listdir(folder) if folder.is_dir() else ())
         if (found := re.match(r"fmb?(\d+)(-|$)", name)) and not Path("/proc", found[1]).exists()]
        for folder in (LINKS, SPACES)
    )  # fmt: skip
    remove(links, spaces)


def call(*words: str) -> None:
    """Run a command. Raises FedmpiError with the first line of its message if it fails."""
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or [f"exit {error.returncode}"]
        raise FedmpiError(f"{' '.join(words)}: {said[0]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FedmpiError(f"{words[0]}: {error}") from None
