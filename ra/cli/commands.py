"""Which settings and which function belong to a command; the function is imported when it runs."""

from ra.settings import analysis_commands as analysis
from ra.settings import commands

GROUPS = {
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
        "watch": (commands.Watch, "ra.jobs.watch:watch_jobs"),
    },
    "analyse transfer": {
        "split-classes": (analysis.SplitClasses, "ra.jobs.analysis:split"),
        "categories": (analysis.Categories, "ra.jobs.analysis:categories"),
        "lambda-sweep": (analysis.LambdaSweep, "ra.jobs.analysis:lambda_sweep"),
        "extras": (analysis.Extras, "ra.jobs.analysis:extras"),
        "boundaries": (analysis.Boundaries, "ra.jobs.analysis:boundaries"),
        "boundaries-table": (analysis.BoundariesTable, "ra.jobs.analysis:boundaries_table"),
        "black-box": (analysis.BlackBox, "ra.jobs.black_box:black_box"),
        "black-box-sheet": (analysis.BlackBoxSheet, "ra.jobs.black_box:sheet"),
        "predict-label": (analysis.PredictLabel, "ra.jobs.black_box:predict_label"),
        "compose-detection": (analysis.ComposeDetection, "ra.jobs.detection:compose_scenes"),
        "train-detector": (analysis.TrainDetector, "ra.jobs.detection:train_detector"),
        "train-through-detector": (
            analysis.TrainThroughDetector,
            "ra.jobs.detection:train_through_detector",
        ),
        "evaluate-detection": (analysis.EvaluateDetection, "ra.jobs.detection:evaluate_detection"),
        "detection-table": (analysis.DetectionTable, "ra.jobs.detection:tables"),
    },
    "measure speed": {"bench": (analysis.Bench, "ra.jobs.bench:bench")},
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
