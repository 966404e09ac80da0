"""The honest floor: one process, plain eager PyTorch, no framework.  loop.py FOLDER OUT"""

from time import perf_counter

import torch
from given import given

task, marks = given(), [perf_counter()]
net = task.model()
weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
for cohort in task.cohorts:
    total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    samples = 0
    for client in cohort.tolist():
        net.load_state_dict(weights)
        n = task.train(net, client)
        samples += n
        for name, tensor in net.state_dict().items():
            total[name] += n * tensor
    weights = {name: tensor / samples for name, tensor in total.items()}
    marks.append(perf_counter())
net.load_state_dict(weights)
task.hand_back(marks, net)
