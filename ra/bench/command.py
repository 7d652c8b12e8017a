"""`ra bench`: how fast, against what could be; and where the time of an experiment went."""

import tempfile
from pathlib import Path

from ra.bench import cores, dag, evaluation, growth, manifest, memory, released, steps, training
from ra.bench.measure import write_rows
from ra.bench.scene import Options, Work
from ra.bench.settings import DEFAULT, Bench
from ra.errors import UserError
from ra.progress import quieted
from ra.runtime.devices import use_device


def bench(o: Bench) -> None:
    """Run the comparisons and print a table for each."""
    names = o.comparisons or [*DEFAULT, *(["dag"] if o.results else [])]
    if "dag" in names and not o.results:
        raise UserError("--results: needed by dag; the folder of a finished experiment")
    with (
        quieted(),  # hundreds of short trainings
        use_device(o.runtime) as where,
        tempfile.TemporaryDirectory(prefix="ra-bench-") as folder,
    ):
        options = _options(o, where, Path(folder))
        for name in names:
            for part, rows in _rows(name, options, o):
                print(f"\n{part}\n\n{write_rows(o.save_dir, part, rows)}", flush=True)


def _rows(name: str, options: Options, o: Bench):
    """(name of the table, its rows) of one comparison."""
    if name == "dag":
        yield "dag", dag.compare(o.results)
        yield "concurrency", dag.concurrency(o.results)
        dag.draw_timeline(o.save_dir / "timeline.png", dag.read_jobs(o.results))
    elif name == "growth":
        yield "growth", growth.compare(options)
        yield "sharing", growth.sharing(options)
        yield "epochs", growth.epochs(options)
        yield "manifest", manifest.compare(options)
    elif name == "cores":
        yield "cores", cores.compare(options.folder, o.configfile, o.repeats)
    else:
        modules = {"training": training, "released": released, "evaluation": evaluation}
        modules |= {"memory": memory, "steps": steps}
        yield name, modules[name].compare(options)


def _options(o: Bench, where, folder: Path):
    columns = []
    for flag, values in (("--batch-size", o.batch_size), ("--steps", o.steps)):
        if len(values) not in (1, len(o.sizes)):
            raise UserError(f"{flag}: {len(values)} values for {len(o.sizes)} sizes; one, or each")
        columns.append(values * len(o.sizes) if len(values) == 1 else values)
    works = tuple(Work(*numbers) for numbers in zip(o.sizes, *columns, strict=True))
    return Options(
        folder=folder,
        device=where,
        works=works,
        repeats=o.repeats,
        tasks=o.tasks,
        objectives=o.objectives,
        arch=o.arch,
        recognizers=o.recognizers,
        channels=o.channels,
        blocks=o.blocks,
        precision=o.runtime.precision,
        workers=o.runtime.workers,
        clock=o.clock,
    )
