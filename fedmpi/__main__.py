"""python -m fedmpi, and the command `fedmpi`."""

import gc
import signal


def main() -> int:
    """Run the command line; a SIGINT while modules are loaded ends the process at once.

    As Python's KeyboardInterrupt it could be lost there: code that is called back, and some
    imports, drop what is raised in them. From where that is safe, `cli.main` hears it again.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fedmpi import cli

    code = cli.main()
    gc.freeze()  # or Python, as it ends, would search all of torch for what can be freed
    return code


if __name__ == "__main__":
    raise SystemExit(main())
