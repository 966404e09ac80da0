"""Where a rank reports how far it has come while a round runs."""

NO_CLIENT = -1  # the rank trains no client


class Progress:
    """Takes the reports of a rank and does nothing with them; subclasses do."""

    def note(self, round: int, client: int = NO_CLIENT) -> None:
        """Take note that this rank works on `client` in `round`."""

    def step(self) -> None:
        """Take note that the rank has trained one more step."""

    def take_news(self) -> list[str]:
        """Return the warnings (list of str) that came up since the last call."""
        return []
