"""Which settings and which function belong to a command; the function is imported when it runs."""

from ra.analysis import command_settings as analysis
from ra.bench.settings import Bench
from ra.settings import commands

GROUPS: dict[str, dict[str, tuple[type[commands.Command], str]]] = {
    "run an experiment": {
        "prepare": (commands.Prepare, "ra.jobs.prepare:prepare_data"),
        "fetch-weights": (commands.FetchWeights, "ra.jobs.recognizer:fetch_weights"),
        "train-recognizer": (commands.TrainRecognizer, "ra.jobs.recognizer:train_recognizer"),
        "train": (commands.Train, "ra.jobs.train:train_processor"),
        "import-checkpoint": (commands.ImportCheckpoint, "ra.jobs.train:import_released"),
        "evaluate": (commands.Evaluate, "ra.jobs.evaluate:evaluate_processor"),
        "table": (commands.Table, "ra.jobs.tables:table"),
        "transfer-matrix": (commands.TransferMatrix, "ra.jobs.tables:transfer_matrix"),
        "report": (commands.Report, "ra.jobs.tables:report"),
    },
    "use its models": {
        "process": (commands.Process, "ra.jobs.inference:process"),
        "predict": (commands.Predict, "ra.jobs.inference:predict"),
        "export": (commands.Export, "ra.inference.export:export"),
        "export-zero-shot": (commands.ExportZeroShot, "ra.models.zero_shot:export_zero_shot"),
        "watch": (commands.Watch, "ra.jobs.watch:watch_jobs"),
    },
    "analyse transfer": {
        "split-classes": (analysis.SplitClasses, "ra.analysis.categories.halves:split_classes"),
        "categories": (analysis.Categories, "ra.analysis.categories.table:write_categories"),
        "prepare-corruption": (
            analysis.PrepareCorruption,
            "ra.analysis.corruptions.prepare:prepare_corruption",
        ),
        "corruptions": (analysis.Corruptions, "ra.analysis.corruptions.table:write_corruptions"),
        "lambda-sweep": (analysis.LambdaSweep, "ra.analysis.lambdas:write_lambdas"),
        "extras": (analysis.Extras, "ra.analysis.extras:write_extras"),
        "boundaries": (analysis.Boundaries, "ra.analysis.boundaries.job:run_boundaries"),
        "boundaries-table": (
            analysis.BoundariesTable,
            "ra.analysis.boundaries.transfer:write_transfer",
        ),
        "black-box": (analysis.BlackBox, "ra.analysis.black_box.study:run_black_box"),
        "black-box-sheet": (analysis.BlackBoxSheet, "ra.analysis.black_box.sheet:run_sheet"),
        "predict-label": (
            analysis.PredictLabel,
            "ra.analysis.black_box.predict_label:predict_label",
        ),
        "kinds": (analysis.Kinds, "ra.analysis.kinds:write_kinds"),
    },
    "measure speed": {"bench": (Bench, "ra.bench.command:bench")},
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
