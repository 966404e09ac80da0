"""Entry point of `python -m fedmpi` and of the command `fedmpi`."""

import gc
import signal


def main() -> int:
    """Run the command line; a SIGINT while modules are loaded ends the process at once.

    As a KeyboardInterrupt it could be lost during loading, since callbacks and some imports drop
    exceptions. `cli.main` handles SIGINT again as soon as that is safe.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fedmpi import cli

    code = cli.main()
    gc.freeze()  # otherwise Python would search all of torch for garbage at exit
    return code


if __name__ == "__main__":
    raise SystemExit(main())
