"""Memory of a round, measured in a process of its own: it does not grow with the cohort."""

from tests.conftest import COMPILED

ROUND = """
import numpy as np
from fedmpi.setting import Setting
from fedmpi.algorithms import ALGORITHMS
from fedmpi.exchange import Job, Report
from fedmpi.layout import Layer, Layout, Support, Tensor
from fedmpi.plan import Plan
from fedmpi.resident import resident
from fedmpi.round.messages import Messages
from fedmpi.round.visit import Server, add_arrival, visit
P = 1_000_000
layout = Layout((Tensor("w", (1000, 1000), 0, 0, 1000, True),), (Layer("w", "linear", 1000, P),))
rng = np.random.default_rng(0)

class Own(ALGORITHMS["lotteryfl"]):
    def plan(self, state, round, client):
        held = Support(layout, "coordinate", (rng.random(P) < 0.1).astype(np.uint8))
        return Plan(down=held, up=held)

own = Own(Own.Keys(), Setting(layout, 1, 9, 60, True, np.ones(60)))
state = own.start(np.zeros(P, np.float32))
server, sums, values = Server(own, (), Messages(), lambda client: {}), own.zero(), np.ones(P, "f4")
own.remembers = False
Own.remember = lambda self, *words: None
for client in range(60):
    job = Job(client, 0, state, own.plan(state, 0, client), 1 / 60)
    done = visit(server, job, Report(client, 1, 1, 1, 0.5, values))
    assert not add_arrival(own, sums, done, done.arrival).reason
    if client == 2:
        before = resident()
print((resident() - before) / 1e6)
"""


def test_clients_with_supports_of_their_own_leave_nothing_but_sizes(run_python):
    """A million parameters: 60 clients take hardly more than two."""
    done = run_python("-c", ROUND, timeout=600, **COMPILED)
    assert float(done.stdout) < 10, done.stderr
