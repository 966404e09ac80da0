"""Cells: clients of one cell share its uplink capacity, so their uploads slow each other down."""

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.kernels import uplink
from fedmpi.world.clock import Spans
from fedmpi.world.devices import Devices


def share_uplinks(
    span: Spans, devices: Devices, clients: Integers, bytes_up: Integers
) -> Spans:
    """Return the Spans of a round's `clients` int64[n] if the clients of a cell share its uplink.

    Clients k with the same k // cell_clients form a cell with a capacity of cell_mbit_s. Rates in
    a cell are max-min fair. The m uploads of a cell take up to 2 m steps of m operations each.
    """
    if not devices.cell_mbit_s:
        return span
    cell, cap = clients // devices.cell_clients, devices.up_mbit_s[clients]
    order = np.lexsort((clients, cap, cell))
    counts = np.unique(cell, return_counts=True)[1]
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    latency = devices.latency_s[clients]
    start = span.down + span.compute + latency
    ends = np.zeros(len(clients))
    bits = 8.0 * bytes_up[order]
    capacity = 1e6 * devices.cell_mbit_s
    uplink.fair_ends(ends, first, start[order], bits, 1e6 * cap[order], capacity)
    up = np.zeros(len(clients))
    up[order] = ends - start[order]
    return Spans(span.down, span.compute, np.where(bytes_up > 0, up + latency, span.up))
