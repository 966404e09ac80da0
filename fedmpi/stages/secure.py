"""Secure aggregation: the server sees the sum over a round's clients, and no client's own message.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", CCS 2017, with the sparse graph of Bell,
Bonawitz, Gascon, Lepoint and Raykova, "Secure Single-Server Aggregation with (Poly)Logarithmic
Overhead", CCS 2020: each client shares a mask with each of its `neighbours`, the clients next to it
on a ring in a drawn order. The client of lower id adds the mask, the other subtracts it. Sums are
integers modulo 2^64, so the masks of two clients that both report cancel exactly. For clients that
are late, lost or rejected, the server rebuilds the masks from the neighbours' shares and removes
them.

Deviations: masks are drawn from the run's seed, so nothing is secret here. The stage simulates the
arithmetic, the recovery of clients, and the bytes: 8 for each value, 32 for each key and share, and
28 around an encrypted pair. The second mask of each client, which the server always removes, counts
in bytes only. If half of a missing client's neighbours are missing too, its masks cannot be
removed; the round then has no result, and the run ends.
"""

import numpy as np
from pydantic import Field

from fedmpi.arrays import Integers, Memory
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.exchange import Coding, Job, Part, Parts
from fedmpi.section import Section
from fedmpi.stage import Stage
from fedmpi.totals import Sums

KEY, SHARE, SEAL, VALUE = 32, 32, 28, 8  # bytes


class Secure(Stage, name="secure"):
    """Masks every client's contribution to the sums."""

    resizes = last = synchronous = True

    class Keys(Section):
        """The keys of a secure stage."""

        neighbours: int = Field(20, ge=2, le=1000, multiple_of=2)  # how many share a client's masks

    @property
    def more_down(self) -> int:
        """Bytes of the neighbours' two keys and of their encrypted shares."""
        neighbours: int = self.keys.neighbours
        return neighbours * (2 * KEY + 2 * SHARE + SEAL)

    def norm_after(self, before: float) -> float:
        """Return `before`: the masks cancel."""
        return before

    def check(self, sums: Sums) -> None:
        """Raise ConfigError unless all sums are of whole models in integers, as masks require."""
        for name, total in sums.items():
            if total.level != "model" or not total.exact:
                raise ConfigError(
                    f"stage secure: the sum of {name} must be of integers and over whole models, "
                    "since supports would show which coordinates a client holds; use run.sum = "
                    "'exact', a method whose clients send whole models, such as fedavg, and no "
                    "topk stage"
                )

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Count the bytes of the masked values, the client's keys, and the shares it sends."""
        shares = self.keys.neighbours * (2 * SHARE + SEAL + SHARE)
        coded: dict[str, Part] = {}
        for name, part in parts.items():
            size = VALUE * part.support.size + (2 * KEY + shares if name == "weights" else 0)
            coded[name] = part._replace(coding=Coding("stream", np.zeros(0, np.float32), size))
        return coded, memory

    def seal(self, sums: Sums, round: int, client: int, cohort: Integers) -> None:
        """Add the client's masks."""
        for other in self._beside(round, client, cohort):
            self._mask(sums, round, client, other, 1)

    def unseal(self, sums: Sums, round: int, cohort: Integers, completed: Integers) -> None:
        """Remove the masks between clients that reported and clients that did not."""
        there = set(completed.tolist())
        gone = [client for client in cohort.tolist() if client not in there]
        for total in sums.values() if gone else ():
            total.sum = total.sum.copy()  # the ranks of a node share the memory of a sum
        for missing in gone:
            beside = self._beside(round, missing, cohort)
            left = [other for other in beside if other in there]
            if left and 2 * len(left) <= len(beside):
                raise FedmpiError(
                    f"round {round}: client {missing} sent nothing, and only {len(left)} of its "
                    f"{len(beside)} neighbours reported, too few to rebuild its masks; raise "
                    "stage secure: neighbours, or let fewer clients be late"
                )
            for other in left:
                self._mask(sums, round, other, missing, -1)

    def _beside(self, round: int, client: int, cohort: Integers) -> list[int]:
        """Return the ids of a client's neighbours on the ring of a round."""
        ring = self.rng_for(round).permutation(cohort)
        place, reach = int(np.flatnonzero(ring == client)[0]), self.keys.neighbours // 2
        steps = [step for step in range(-reach, reach + 1) if step]
        found = {int(ring[(place + step) % ring.size]) for step in steps}
        return sorted(found - {int(client)})

    def _mask(self, sums: Sums, round: int, client: int, other: int, sign: int) -> None:
        """Add `sign` times the contribution of `client` to the mask it shares with `other`."""
        low, high = sorted((int(client), int(other)))
        drawn = self.rng_for(round, 1 + (low << 32) + high).bit_generator
        for name in sorted(sums):
            mask = drawn.random_raw(sums[name].sum.size).view(np.int64)
            if sign * (1 if client == low else -1) > 0:
                sums[name].sum += mask
            else:
                sums[name].sum -= mask
