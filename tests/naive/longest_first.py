"""Twin of kernels/longest_first.py: look at all ranks for each piece."""


def share_out(order, costs, pace, ranks):
    free = [0.0] * len(pace)
    for piece in order:
        rank = free.index(min(free))
        ranks[piece] = rank
        free[rank] += costs[piece] * pace[rank]
