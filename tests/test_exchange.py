"""The values of a visit: what is missing is named, and what may be left out has a meaning."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fedmpi.errors import ClientError, ConfigError, FedmpiError
from fedmpi.exchange import CLIENT_FAULTS, Arrival, Coding, Part, Report, required
from fedmpi.layout import ONE, Support


def test_only_none_is_missing():
    for given in (np.zeros(3), np.zeros(0), 0, "", False):
        assert required(given) is given
    with pytest.raises(FedmpiError, match="is missing; give it, or run the method by"):
        required(None)


@pytest.mark.parametrize("fault", [
    ClientError, ZeroDivisionError, FloatingPointError, OverflowError, np.linalg.LinAlgError,
])  # fmt: skip
def test_faults_of_numbers_reject_a_client(fault):
    assert issubclass(fault, CLIENT_FAULTS)


@pytest.mark.parametrize("fault", [FedmpiError, ConfigError, ValueError, TypeError, MemoryError])
def test_faults_of_programs_end_the_run(fault):
    assert not issubclass(fault, CLIENT_FAULTS)


def test_reports_and_arrivals_cannot_be_changed():
    one = np.ones(1, np.float32)
    part = Part(one, Support.all(ONE))
    assert part.bytes == 0 and part.coding is None and Coding("ones")[1:] == (None, 0)
    report, arrival = Report(7, 5, 4, 3, 0.5, one), Arrival(7, 0.25, 3, 0.5, {"weights": part})
    assert (report.samples, report.seen, report.steps, report.loss) == (5, 4, 3, 0.5)
    assert report.lr == report.probed == arrival.round == 0 and report.private is None
    for value in (report, arrival):
        with pytest.raises(FrozenInstanceError):
            value.loss = 1.0
