"""python -m fedmpi: the same as the command."""

from fedmpi.cli import main

raise SystemExit(main())
