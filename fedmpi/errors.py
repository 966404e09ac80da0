"""The errors that fedmpi raises on purpose; each carries the exit code of its kind."""


class FedmpiError(Exception):
    """Something failed. The message names the place, the value and what to do."""

    exit_code = 1


class ConfigError(FedmpiError):
    """The configuration or the command line asks for what cannot be done."""

    exit_code = 2


class DataError(FedmpiError):
    """A data file is missing, altered or not what its name says."""


class ResultError(FedmpiError):
    """A result file cannot be read or must not be written."""


class MessageError(FedmpiError):
    """An encoded message is truncated, altered or contradicts itself."""
