"""Analyses of transfer: split-classes, categories, lambda-sweep, extras."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import command, files_flag, save_dir_flag


def add(commands) -> None:
    """Add this module's commands."""
    for add_one in (_add_split_classes, _add_categories, _add_lambda_sweep, _add_extras):
        add_one(commands)


def _add_split_classes(commands) -> None:
    text = "write two prepared data sets, A and B, each with half of the classes of one"
    p = command(commands, "split-classes", _split_classes, text)
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared data set")
    p.add_argument("--seed", type=int, default=0, help="draws the halves")
    save_dir_flag(p, "for halves.json, A/data and B/data")


def _split_classes(o) -> None:
    from ra.analysis.categories.halves import split_classes

    for half, classes in split_classes(o.data, o.save_dir, o.seed).items():
        print(f"{half}: {', '.join(classes)}")


def _add_categories(commands) -> None:
    text = "table of P's trained on one half of the classes, judged on both"
    p = command(commands, "categories", _categories, text)
    for half in ("a", "b"):
        _evaluations(p, f"--trained-on-{half}", f"of P's trained on half {half.upper()}")
    save_dir_flag(p, "for categories.csv, .md, .png")


def _categories(o) -> None:
    from ra.analysis.categories.table import write_categories

    write_categories({"A": o.trained_on_a, "B": o.trained_on_b}, o.save_dir)


def _add_lambda_sweep(commands) -> None:
    text = "table and plot of accuracy against image quality over lambda"
    p = command(commands, "lambda-sweep", _lambda_sweep, text)
    _evaluations(p, "--evaluations", "of one P per lambda; plain is lambda 0")
    p.add_argument("--training-r", required=True, metavar="R", help="the R that trained the P's")
    save_dir_flag(p, "for lambdas.csv, .md, .png")


def _lambda_sweep(o) -> None:
    from ra.analysis.lambdas import write_lambdas

    write_lambdas(o.evaluations, o.training_r, o.save_dir)


def _add_extras(commands) -> None:
    text = "table of P's beyond the paper: ensembles, perceptual loss, other P's and R's"
    p = command(commands, "extras", _extras, text)
    p.add_argument(
        "--group",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "FILE"),
        help="a name and evaluation.csv files; P's are compared with the plain one of their "
        "group, plain ones with that of the first group",
    )
    save_dir_flag(p, "for extras.csv, .md, .png")


def _extras(o) -> None:
    from ra.analysis.extras import write_extras

    write_extras([(name, [Path(file) for file in files]) for name, *files in o.group], o.save_dir)


def _evaluations(p, flag: str, whose: str) -> None:
    text = f"evaluation.csv files {whose}; images.csv is read beside each"
    files_flag(p, flag, text)
