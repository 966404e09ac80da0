"""The verb bench, with its subcommands."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, TypeAlias, cast

from fedmpi.cli import bench_run, bench_setup
from fedmpi.cli.bench_setup import launch_of, new_file, on_nodes, prepare, say, write
from fedmpi.cli.bench_tables import show_arms, show_bars, show_choices, show_machine, show_rows
from fedmpi.cli.machine import cache_folder, data_root
from fedmpi.cli.ranks import ending_together, joined
from fedmpi.cli.words import Verbs
from fedmpi.comm.launch import launched, refuse, started
from fedmpi.errors import ConfigError

if TYPE_CHECKING:
    from fedmpi.bench.measure import Found
    from fedmpi.comm.mpi import Mpi

Verb: TypeAlias = Callable[[Namespace], None]


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    parser = verbs.add_parser("bench", help="measure kernels, collectives, the round loop",
                              description="Measure parts of fedmpi; docs/performance.md has links.")
    whats = parser.add_subparsers(metavar="WHAT [OPTIONS]", required=True)
    for function, add_arguments, summary, example in _WHATS:
        parser = verb(whats, function, summary, example)
        parser.add_argument("--json", type=new_file, metavar="FILE",
                            help="write the numbers to FILE")
        add_arguments(parser)


def _with_quick(parser: ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="measure a small part only")


def _kernels_arguments(parser: ArgumentParser) -> None:
    _with_quick(parser)
    parser.add_argument("--models", action="store_true",
                        help="only whole models, and the engine that 'auto' chooses for each")


def _with_ranks(parser: ArgumentParser) -> None:
    parser.add_argument("--ranks", type=int, metavar="N",
                        help="number of ranks (default: the cores, at most 4)")


def _collectives_arguments(parser: ArgumentParser) -> None:
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--quick", action="store_true", help="measure a small part only")
    parts.add_argument("--bars", action="store_true",
                       help="only what decides the bars of single sums; takes less than a minute")
    parts.add_argument("--runs", action="store_true",
                       help="only whole runs of sparse methods, with MPI's dense sum and with auto")
    _with_ranks(parser)
    parser.add_argument("--nodes", type=int, metavar="N", help=(
        "N ranks, each on an emulated node, 10 Gbit/s between nodes (single sums only; needs root)"
    ))  # fmt: skip


def _round_arguments(parser: ArgumentParser) -> None:
    _with_quick(parser)
    _with_ranks(parser)
    parser.add_argument("--minutes", type=float, default=inf, metavar="M",
                        help="start no further measurement after M minutes")
    parser.add_argument("--engine", choices=("auto", "batched"), default="auto",
                        help="batched: compare this engine with torch's, and show the rule of auto")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                        help="where the batched engine computes")
    parser.add_argument("--pfl", metavar="PYTHON", help="interpreter that has pfl 0.6.0")
    parser.add_argument("--flower", metavar="PYTHON", help="interpreter that has Flower 1.41.0")


def _scale_arguments(parser: ArgumentParser) -> None:
    _with_quick(parser)
    parser.add_argument("--figure", metavar="FILE", help="draw the predictions (.png, .svg, .pdf)")


def _world_arguments(parser: ArgumentParser) -> None:
    _with_quick(parser)
    parser.add_argument("--ranks", type=int, metavar="N",
                        help="largest number of real clients at a time (default: 4)")


def round_(args: Namespace) -> None:
    """Measure clients per second, start-up and memory, beside other programs; it starts ranks."""
    _refuse_ranks("round")
    if not args.minutes >= 0:
        raise ConfigError(f"bench round --minutes {args.minutes:g}: must be 0 or more")
    if args.engine == "batched":
        _batched(args)
        return
    if args.device != "cpu":
        raise ConfigError(f"bench round --device {args.device}: add --engine batched")
    for name in ("pfl", "flower") if args.quick else ():
        if getattr(args, name):
            raise ConfigError(f"bench round --quick --{name}: --quick measures no other program; "
                              f"leave out --quick or --{name}")
    launch = launch_of(prepare(), args.ranks)
    from fedmpi.bench import environment
    from fedmpi.bench import round_loop as measured
    from fedmpi.bench.others import others

    ranks = environment.ranks(launch, args.ranks, "bench round --ranks")
    peers = () if args.quick else others(launch, ranks, args.pfl, args.flower)
    size = measured.size_for(ranks, args.quick)
    found = measured.run(launch, data_root(), cache_folder(), size, peers, say, args.minutes)
    write(args.json, found)
    show_arms(found)
    show_bars(found["bars"])


def _refuse_ranks(what: str) -> None:
    """Refuse to run under a launcher with several ranks: each would measure everything."""
    count, _ = started(os.environ)
    if count > 1:
        refuse(os.environ, f"bench {what}: must be one process, but a launcher started {count} "
               "processes; start it without mpiexec or srun")


def _batched(args: Namespace) -> None:
    """Compare the batched engine with the torch engine, and print the rule of "auto"."""
    if args.flower:
        raise ConfigError(
            "bench round --engine batched --flower: the batched engine is compared with torch's "
            "engine and pfl only; leave out --flower or --engine batched"
        )
    asked = 1 if args.ranks is None else args.ranks
    launch = launch_of(prepare(), asked)
    from fedmpi.bench import batched_engine, environment

    ranks = environment.ranks(launch, asked, "bench round --ranks")
    found = batched_engine.run(launch, args.device, ranks, args.quick, say, args.pfl,
                               args.minutes)
    write(args.json, found)
    show_machine(found["machine"])
    show_rows(found["rows"])
    show_rows(found["setups"])
    print("\n".join(found["rule"]))
    show_bars(found["bars"])


def collectives(args: Namespace) -> None:
    """Measure the sums over ranks, and whole runs; without mpiexec it starts its own ranks."""
    if not launched(os.environ):
        _collectives_alone(args)
        return
    if args.runs or args.ranks is not None or args.nodes is not None:
        refuse(os.environ,
               "bench collectives: --runs, --ranks and --nodes start ranks; start it without "
               "mpiexec or srun")
    comm = cast("Mpi", joined(os.environ))  # under a launcher
    with ending_together(comm, args.debug):
        bench_setup.check_file(comm, args.json)
        prepare()
        from fedmpi.bench import collectives as measured

        found = measured.run(comm, "quick" if args.quick else "bars" if args.bars else "all")
        if comm.rank == 0:
            write(args.json, found)
            show_rows(found["rows"])
            show_bars(found["bars"])


def _collectives_alone(args: Namespace) -> None:
    """Measure single sums on ranks that this command starts, and whole runs on other ranks."""
    if args.nodes is not None and (
        args.runs or args.ranks is not None or args.nodes < 2
    ):
        raise ConfigError(
            f"bench collectives --nodes {args.nodes}: must be 2 or more, without --runs or --ranks"
        )
    asked, option = (args.ranks, "ranks") if args.nodes is None else (args.nodes, "nodes")
    launch = launch_of(prepare(), asked)
    from fedmpi.bench import environment, reductions

    ranks = environment.ranks(launch, asked, f"bench collectives --{option}")
    found: Found = {"ranks": ranks, "machine": environment.described(launch)}
    found |= {"rows": [], "bars": []}
    if not args.runs:
        words = [f"--{part}" for part in ("quick", "bars") if getattr(args, part)]
        with on_nodes(launch, args.nodes) as placed:
            found |= placed.fedmpi(["bench", "collectives", *words], ranks)
        show_rows(found["rows"])
    if not args.bars and not args.nodes:
        size = reductions.QUICK if args.quick else reductions.Size()
        runs = reductions.run(launch, ranks, size, say)
        found |= {"runs": runs["rows"], "bars": found["bars"] + runs["bars"]}
        show_rows(found["runs"])
    found["machine"]["load_after"] = os.getloadavg()
    show_machine(found["machine"])
    show_bars(found["bars"])
    write(args.json, found)


def kernels(args: Namespace) -> None:
    """Measure kernels beside numpy or torch and the machine's floor; --models: whole models."""
    _refuse_ranks("kernels")
    launch = launch_of(prepare())
    from fedmpi.bench import engine_choice, environment, kernel_times

    if args.models:
        found = engine_choice.run(environment.described(launch), args.quick, say)
        show_choices(found)
    else:
        found = kernel_times.run(args.quick, say)
        for rows in found["tables"].values():
            show_rows(rows)
    write(args.json, found)
    show_bars(found["bars"])


def scale(args: Namespace) -> None:
    """Predict sums on many nodes and check them against real sums; under mpiexec, only check."""
    if launched(os.environ):
        comm = cast("Mpi", joined(os.environ))
        if comm.size == 1:
            raise ConfigError("bench scale: real sums need 2 ranks; start it without mpiexec")
        with ending_together(comm, args.debug):
            bench_setup.check_file(comm, args.json)
            prepare()
            from fedmpi.bench import check

            found = check.run(comm.raw, check.QUICK if args.quick else check.Size())
        if comm.rank:
            return
        checks, tables = [found], []
    else:
        folder = prepare()
        from fedmpi.bench import scale as measured

        if args.figure:
            from fedmpi.analysis.draw import sheet
            from fedmpi.bench.scale_figure import draw

            sheet(args.figure, (1, 1))  # refuse a bad file name before the long measurement
        found = measured.run(launch_of(folder), args.quick, say)
        checks, tables = found["checks"], [
            found[key] for key in ("rows", "methods", "rounds", "published")
        ]
        tables.append(found["emulated"]["rows"])
        if args.figure:
            draw(found, args.figure)
    write(args.json, found)
    for rows in (*(check["rows"] for check in checks), *tables):
        show_rows(rows)
    show_bars(found["bars"])


def world(args: Namespace) -> None:
    """Compare virtual round times with those of real clients that this command starts."""
    _refuse_ranks("world")
    launch, most = launch_of(prepare()), 4 if args.ranks is None else args.ranks
    if most < 1:
        raise ConfigError(f"bench world --ranks {most}: must be 1 or more")
    from fedmpi.bench import validation

    found = validation.run(launch, most, args.quick, say)
    write(args.json, found)
    show_machine(found["machine"])
    print(f"links: {found['links']}")
    show_rows(found["rows"])
    show_bars(found["bars"])


_WHATS: tuple[tuple[Verb, Callable[[ArgumentParser], None], str, str], ...] = (
    (kernels, _kernels_arguments, "each kernel beside its peer and the machine's floor",
     "fedmpi bench kernels --json kernels.json"),
    (collectives, _collectives_arguments, "the sums over ranks",
     "fedmpi bench collectives --ranks 4 --bars"),
    (round_, _round_arguments, "clients per second, start-up, memory",
     "fedmpi bench round --ranks 4 --minutes 10"),
    (scale, _scale_arguments, "the sums on many nodes, simulated",
     "fedmpi bench scale --figure scale.png"),
    (world, _world_arguments, "virtual round times beside those of real clients",
     "fedmpi bench world --json world.json"),
    (bench_run.run, bench_run.arguments, "an experiment of your own",
     "fedmpi bench run exp.toml"),
)
