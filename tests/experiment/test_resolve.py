"""The configuration that a result file holds, where it is damaged."""

import pytest

from fedmpi.errors import ConfigError
from fedmpi.experiment.earlier import Earlier

DEEP = []
for _ in range(600):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"clients": []}, r"clients = \[\]: must be a section"),
        ({"clients": 3}, "clients = 3: must be a section"),
        ({"run": DEEP}, "nested too deeply; it is damaged"),
    ],
)
def test_a_damaged_configuration_is_refused(values, fault):
    with pytest.raises(ConfigError, match=f"out.h5: .*{fault}"):
        Earlier("", values).resolved("out.h5")
