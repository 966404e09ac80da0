"""Slow, obvious twins of kernels/update.py, in float64."""

import numpy as np


def pull(weights, grad, reference, i, weight_decay, mu):
    w = np.float64(weights[i])
    return np.float64(grad[i]) + weight_decay * w + mu * (w - reference[i])


def sgd(weights, grad, velocity, reference, mask, edges, lr, momentum, weight_decay, mu):
    for i in range(len(weights)):
        if mask[i] == 1:
            g = pull(weights, grad, reference, i, weight_decay, mu)
            velocity[i] = momentum * np.float64(velocity[i]) + g
            weights[i] -= lr * np.float64(velocity[i])


def adam(weights, grad, first, second, reference, mask, lr, weight_decay, mu, step):
    for i in range(len(weights)):
        if mask[i] == 1:
            g = pull(weights, grad, reference, i, weight_decay, mu)
            first[i] = 0.9 * np.float64(first[i]) + (1 - 0.9) * g
            second[i] = 0.999 * np.float64(second[i]) + (1 - 0.999) * g**2
            root = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
            weights[i] -= lr * first[i] / (1 - 0.9**step) / root
