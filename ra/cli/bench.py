"""`ra bench`: how fast, against what could be; and where the time of an experiment went."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import command, device
from ra.errors import UserError

# What runs when nothing is named; dag needs a finished experiment, steps tells what else was tried.
DEFAULT = ("training", "released", "evaluation", "growth")
COMPARISONS = (*DEFAULT, "steps", "dag", "cores")


def add(commands) -> None:
    p = command(commands, "bench", _bench, "measure ratios: against the limit, and others' ways")
    p.add_argument(
        "comparisons",
        nargs="*",
        metavar="COMPARISON",
        help="training: train against the bare step; released: the released script's way of "
        "working against ours; evaluation: k R's against the bare passes; growth: seconds and "
        "memory against numbers of images, R's and P's; steps: other arithmetic and layouts; "
        "dag: overhead and timeline of --results; cores: snakemake on two cores against one "
        f"(default: {' '.join(DEFAULT)}, and dag where --results are given)",
    )
    p.add_argument(
        "--save-dir",
        type=Path,
        default=Path("results/bench"),
        metavar="DIR",
        help="for COMPARISON.csv, COMPARISON.md and timeline.png",
    )
    _size_flags(p.add_argument_group("sizes; one value holds for all --sizes"))
    _network_flags(p.add_argument_group("networks (weights are random: they cost the same)"))
    group = p.add_argument_group("a finished experiment")
    group.add_argument("--results", type=Path, metavar="DIR", help="its folder of results, for dag")
    group.add_argument(
        "--configfile",
        type=Path,
        metavar="FILE",
        help="experiment that cores runs (default: a small one of independent trainings)",
    )
    group = p.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda (a free GPU) or cuda:N")
    group.add_argument("--threads", type=int, default=1, help="CPU threads; 0 is torch's choice")
    group.add_argument("--workers", type=int, default=0, help="loader processes; 0 is none extra")
    group.add_argument("--precision", default="fp32", help="fp32, or bf16 by autocast")
    group.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU")
    group.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor time, which other jobs do not disturb and free cores do not shorten",
    )
    group.add_argument("--compile", action="store_true", help="steps: also measure torch.compile")


def _size_flags(group) -> None:
    group.add_argument(
        "--sizes", type=int, nargs="+", default=[32, 64, 224], metavar="PX", help="side of crops"
    )
    group.add_argument(
        "--batch-size", type=int, nargs="+", default=[20, 20, 4], metavar="N", help="images a step"
    )
    group.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=[16, 4, 2],
        metavar="N",
        help="steps (evaluation: batches) of one timed part",
    )
    group.add_argument("--repeats", type=int, default=3, help="timed parts of each way, in turn")
    group.add_argument(
        "--tasks",
        nargs="+",
        default=["sr", "dn", "jpeg"],
        metavar="TASK",
        help="evaluation and growth take the last one",
    )
    group.add_argument(
        "--objectives",
        nargs="+",
        default=["plain", "ra", "ra_transformer", "ra_unsupervised"],
        metavar="MODE",
    )


def _network_flags(group) -> None:
    group.add_argument("--arch", default="resnet18", help="training R")
    group.add_argument(
        "--recognizers",
        nargs="+",
        default=["resnet18", "shufflenet_v2_x1_0", "googlenet", "densenet121", "resnet50"],
        metavar="R",
        help="evaluation R's",
    )
    group.add_argument("--channels", type=int, default=16, help="width of P (SRResNet) and T")
    group.add_argument("--blocks", type=int, default=3, help="residual blocks of P and T")


def _bench(o) -> None:
    import os
    import tempfile

    from ra.bench.measure import write_rows
    from ra.progress import QUIET

    names = o.comparisons or [*DEFAULT, *(["dag"] if o.results else [])]
    for name in names:
        if name not in COMPARISONS:
            raise UserError(f"'{name}' is no comparison; there are {', '.join(COMPARISONS)}")
    if "dag" in names and not o.results:
        raise UserError("--results: needed by dag; the folder of a finished experiment")
    os.environ[QUIET] = "1"  # hundreds of short trainings
    with device(o).use() as where, tempfile.TemporaryDirectory(prefix="ra-bench-") as folder:
        options = _options(o, where, Path(folder))
        for name in names:
            for part, rows in _rows(name, options, o):
                print(f"\n{part}\n\n{write_rows(o.save_dir, part, rows)}", flush=True)


def _rows(name: str, options, o):
    """(name of the table, its rows) of one comparison."""
    from ra.bench import cores, dag, evaluation, growth, released, steps, training

    if name == "dag":
        yield "dag", dag.compare(o.results)
        yield "concurrency", dag.concurrency(o.results)
        dag.draw_timeline(o.save_dir / "timeline.png", dag.read_jobs(o.results))
    elif name == "growth":
        yield "growth", growth.compare(options)
        yield "sharing", growth.sharing(options)
        yield "epochs", growth.epochs(options)
    elif name == "steps":
        yield "steps", steps.compare(options, o.compile)
    elif name == "cores":
        yield "cores", cores.compare(options.folder, o.configfile, o.repeats)
    else:
        module = {"training": training, "released": released, "evaluation": evaluation}[name]
        yield name, module.compare(options)


def _options(o, where, folder: Path):
    from ra.bench.scene import Options, Work

    columns = []
    for flag, values in (("--batch-size", o.batch_size), ("--steps", o.steps)):
        if len(values) not in (1, len(o.sizes)):
            raise UserError(f"{flag}: {len(values)} values for {len(o.sizes)} sizes; one, or each")
        columns.append(values * len(o.sizes) if len(values) == 1 else values)
    works = tuple(Work(*numbers) for numbers in zip(o.sizes, *columns, strict=True))
    if o.repeats < 1 or min(min(column) for column in columns) < 1:
        raise UserError("--repeats, --batch-size and --steps must be at least 1")
    return Options(
        folder=folder,
        device=where,
        works=works,
        repeats=o.repeats,
        tasks=tuple(o.tasks),
        objectives=tuple(o.objectives),
        arch=o.arch,
        recognizers=tuple(o.recognizers),
        channels=o.channels,
        blocks=o.blocks,
        precision=o.precision,
        workers=o.workers,
        clock=o.clock,
    )
