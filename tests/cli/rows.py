"""Finished rounds, as progress displays receive them."""


class Row:
    """A finished round."""

    def __init__(self, number, accuracy=0.5, loss=1.0):
        self.columns = {"round": number, "test_accuracy": accuracy, "bytes_up": 1, "bytes_down": 2,
                        "clients_completed": 20, "virtual_time": 1.0, "test_loss": loss}
