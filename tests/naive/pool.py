"""Slow, obvious twins of kernels/pool.py."""


def windows(src, c, taps, run, p):
    """The places of one window, for lane p."""
    _, at, _, t0, t1 = run
    return [src[c] + taps[t] + at + p for t in range(t0, t1)]


def largest(memory, out, src, taps, runs, floor):
    for c in range(len(out)):
        for run in runs:
            for p in range(run[2]):
                best = floor
                for place in windows(src, c, taps, run, p):
                    if memory[place] > best or memory[place] != memory[place]:
                        best = memory[place]
                memory[out[c] + run[0] + p] = best


def largest_back(memory, out, src, up, down, taps, runs, floor, apart):
    for c in range(len(out)):
        for run in runs:
            for p in range(run[2]):
                best = memory[out[c] + run[0] + p]
                left = memory[up[c] + run[0] + p] if best > floor else 0.0
                for place in windows(src, c, taps, run, p):
                    below = place - src[c] + down[c]
                    given = left if memory[place] == best else 0.0
                    left = 0.0 if memory[place] == best else left
                    memory[below] = given if apart else memory[below] + given


def mean(memory, out, src, taps, runs, share, floor):
    for c in range(len(out)):
        for run in runs:
            for p in range(run[2]):
                total = sum(memory[place] for place in windows(src, c, taps, run, p))
                memory[out[c] + run[0] + p] = max(total * share, floor)


def mean_back(memory, up, down, taps, runs, share, gate):
    for c in range(len(up)):
        for run in runs:
            for p in range(run[2]):
                for place in windows(down, c, taps, run, p):
                    memory[place] += share * memory[up[c] + run[0] + p]
                    if gate and not memory[place + gate] > 0:
                        memory[place] = 0
