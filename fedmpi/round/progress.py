"""Interface by which a rank reports its progress during a round."""

NO_CLIENT = -1  # the rank trains no client


class Progress:
    """Ignore the reports of a rank; subclasses make use of them."""

    def note(self, round: int, client: int = NO_CLIENT) -> None:
        """Note that this rank works on `client` in `round`."""

    def step(self) -> None:
        """Note that this rank has trained one more step."""

    def take_news(self) -> list[str]:
        """Return the warnings (list of str) since the last call."""
        return []
