"""Slow, obvious twin of kernels/loss.py, in float64."""

import numpy as np


def cross_entropy(memory, logits, grad, classes, width, y):
    count = len(y)
    z = memory[logits : logits + classes * width].reshape(classes, width)[:, :count]
    p = np.exp(z.astype(np.float64) - z.max(axis=0))
    p /= p.sum(axis=0)
    loss = -np.log(p[y, np.arange(count)]).mean()
    p[y, np.arange(count)] -= 1
    block = np.zeros((classes, width), np.float32)
    block[:, :count] = p / count
    memory[grad : grad + classes * width] = block.reshape(-1)
    return loss


def of_class(memory, outputs, grad, classes, width, y, soft, squared):
    z, count = _outputs(memory, outputs, classes, width, y), len(y)
    o = np.exp(z - z.max(axis=0)) if soft else 1 / (1 + np.exp(-z))
    o /= o.sum(axis=0) if soft else 1
    miss = o - (np.arange(classes)[:, None] == y)
    pull = 2 * miss if squared else np.sign(miss)
    slope = np.zeros((classes, count))
    for k in range(classes):
        for j in range(classes):  # do[j] / dz[k]
            if soft:
                slope[k] += pull[j] * o[j] * ((j == k) - o[k])
            elif j == k:
                slope[k] += pull[j] * o[j] * (1 - o[j])
    _write(memory, grad, width, slope / count)
    return (miss**2 if squared else abs(miss)).sum() / count


def of_numbers(memory, outputs, grad, count, width, targets, crossed):
    z, t = _outputs(memory, outputs, count, width, targets), targets.T.astype(np.float64)
    o = 1 / (1 + np.exp(-z))
    _write(memory, grad, width, (o - t if crossed else 2 * (z - t)) / targets.size)
    if crossed:
        return (t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)).mean()
    return ((z - t) ** 2).mean()


def _outputs(memory, outputs, rows, width, samples):
    block = memory[outputs : outputs + rows * width].reshape(rows, width)
    return block[:, : len(samples)].astype(np.float64)


def _write(memory, grad, width, slope):
    block = np.zeros((len(slope), width), np.float32)
    block[:, : slope.shape[1]] = slope
    memory[grad : grad + block.size] = block.reshape(-1)
