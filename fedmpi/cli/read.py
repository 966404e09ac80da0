"""The verbs that read result files: info, table, compare. They need neither MPI nor torch."""


def add_verbs(verbs):
    """Add the verbs of this module to the parser."""
