"""A simple port, such as one writes in an afternoon.  mpiexec -n 4 port.py FOLDER OUT"""

from time import perf_counter

import torch
from given import given
from mpi4py import MPI

comm, task = MPI.COMM_WORLD, given()
comm.Barrier()
marks = [perf_counter()]
net = task.model()
weights = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
for cohort in task.cohorts:
    total = torch.zeros(len(weights) + 1)  # the last one counts samples
    for client in cohort[comm.rank :: comm.size].tolist():
        torch.nn.utils.vector_to_parameters(weights.clone(), net.parameters())
        n = task.train(net, client)
        total[:-1] += n * torch.nn.utils.parameters_to_vector(net.parameters()).detach()
        total[-1] += n
    comm.Allreduce(MPI.IN_PLACE, total.numpy(), op=MPI.SUM)
    weights = total[:-1] / total[-1]
    marks.append(perf_counter())
torch.nn.utils.vector_to_parameters(weights.clone(), net.parameters())
if comm.rank == 0:
    task.hand_back(marks, net)
