"""Flower 1.41.0 on Ray:  FLWR_TELEMETRY_ENABLED=0 python flower_arm.py ACTORS FOLDER OUT

One processor for each actor, weights by samples. Flower draws its own cohorts.
"""

import logging
import os
import random
import sys
from time import perf_counter

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from given import given

client, server = ClientApp(), ServerApp()


@client.train()
def train(message: Message, context: Context):
    """Train one client."""
    task = given(os.environ["GIVEN"])  # read once by each actor
    net = task.own_net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    samples = task.train(net, context.node_config["partition-id"])
    answer = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": samples}),
    }
    return Message(RecordDict(answer), reply_to=message)


class Timed(FedAvg):
    """FedAvg that notes when each round has been added up."""

    marks: list

    def aggregate_train(self, server_round, replies):
        """Add up, and note when that was done."""
        answer = super().aggregate_train(server_round, replies)
        self.marks.append(perf_counter())
        return answer


@server.main()
def main(grid: Grid, context: Context):
    """Run the rounds and write the results."""
    torch.manual_seed(0)
    random.seed(0)
    task = given()
    strategy = Timed(
        fraction_train=task.per_round / task.clients,
        fraction_evaluate=0.0,
        min_train_nodes=task.per_round,
        min_available_nodes=task.clients,
    )
    strategy.marks = [perf_counter()]
    net = task.model()
    last = strategy.start(
        grid=grid, initial_arrays=ArrayRecord(net.state_dict()), num_rounds=task.rounds
    )
    net.load_state_dict(last.arrays.to_torch_state_dict())
    task.hand_back(strategy.marks, net)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    ranks = int(sys.argv.pop(1))
    os.environ["GIVEN"] = sys.argv[1]  # actors have no words of their own
    run_simulation(
        server,
        client,
        given().clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": ranks, "include_dashboard": False},
        },
    )
