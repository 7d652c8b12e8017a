"""`ra black-box`, `ra black-box-sheet` and `ra predict-label`."""

from __future__ import annotations

import shlex

from ra.analysis.black_box.client import Command, Endpoint
from ra.errors import UserError
from ra.settings.analysis_commands import BlackBox, BlackBoxSheet, PredictLabel


def black_box(o: BlackBox) -> None:
    """Compare the answers of a program or an endpoint to plain and RA images."""
    from ra.analysis.black_box.study import run_black_box

    run_black_box(
        o.source,
        o.plain,
        o.ra,
        service(o),
        o.images,
        o.against,
        o.classes,
        o.judged,
        o.seed,
        o.machine,
        o.cache or o.save_dir / "cache",
        o.save_dir,
    )


def service(o: BlackBox) -> Command | Endpoint:
    """The program or the endpoint that the flags describe."""
    if bool(o.url) == bool(o.program):
        raise UserError("--url and --command: give one of them")
    if o.program:
        return Command(tuple(shlex.split(o.program)), o.batch, max(o.timeout, 600.0))
    if not o.label_path:
        raise UserError("--label-path: needed with --url; where the label is in the answer")
    return Endpoint(
        o.url,
        o.label_path,
        o.key_env,
        o.key_header,
        o.key_prefix,
        o.body,
        o.field,
        o.per_second,
        o.timeout,
        o.retries,
    )


def sheet(o: BlackBoxSheet) -> None:
    """Test what people wrote into a sheet."""
    from ra.analysis.black_box.sheet import run_sheet

    run_sheet(o.sheet, o.key, o.save_dir)


def predict_label(o: PredictLabel) -> None:
    """Print a label for each image file."""
    from ra.analysis.black_box.predict_label import predict_labels
    from ra.runtime.devices import use_device

    with use_device(o.machine) as where:
        for name in predict_labels(o.recognizer, o.files, where):
            print(name)
