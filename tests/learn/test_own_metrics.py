"""Metrics of users' own code: returned values are checked where they are used."""

import numpy as np
import pytest

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.learn.evaluate import evaluate
from fedmpi.learn.sample_arrays import Samples
from tests.learn.test_metrics import CLASSES, LOGITS, Given

# For each message: `whole`, the result of `parts`, and the result of `value`.
WRONG = {
    "parts returned None; it must return float64[m]": (False, None, 1.0),
    "parts returned an int; it must return float64[m]": (False, 3, 1.0),
    "parts returned a list; it must return float64[m]": (False, [[1], [2, 3]], 1.0),
    "parts returned <U1[1]; it must return float64[m]": (False, np.array(["a"]), 1.0),
    "parts returned float64[1]; it must return float64[37, m]": (True, np.ones(1), 1.0),
    "value returned a str; it must return a number": (False, np.ones(1), "0.5"),
    "value returned float64[3]; it must return a number": (False, np.ones(1), np.ones(3)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_a_metric_returns_wrong_is_named(message):
    whole, parts, value = WRONG[message]

    class Own(fedmpi.Metric):
        def parts(self, outputs, targets):
            return parts

        def value(self, parts):
            return value

    Own.whole = whole
    samples = Samples(np.arange(37), CLASSES[:37])
    with pytest.raises(FedmpiError) as caught:
        evaluate(Given(LOGITS, "cross-entropy"), None, samples, 8, Serial(), [("own", Own())])
    assert message in str(caught.value)
