"""Detection: compose-detection, train-detector, train-through-detector, judge-detection,
detection-table."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import (
    command,
    device,
    files_flag,
    processor_flags,
    runtime,
    runtime_flags,
    save_dir_flag,
    schedule,
    schedule_flags,
    task_flags,
    task_settings,
)


def add(commands) -> None:
    """Add this module's commands."""
    for add_one in (_add_compose, _add_detector, _add_train, _add_judge, _add_table):
        add_one(commands)


def _add_compose(commands) -> None:
    p = command(
        commands,
        "compose-detection",
        _compose,
        "compose a small detection set from photographs of installed packages",
    )
    save_dir_flag(p, "for VOC0000, a VOC tree")
    p.add_argument("--side", type=int, default=96, help="of the square images, pixels")
    p.add_argument("--train", type=int, default=400, help="training images")
    p.add_argument("--val", type=int, default=150, help="validation images")
    p.add_argument("--seed", type=int, default=0, help="draws the scenes")
    p.add_argument(
        "--split",
        choices=["final", "tune"],
        default="final",
        help="tune: the training half of the photographs, split again",
    )


def _compose(o) -> None:
    from ra.analysis.dense.composed import compose

    compose(o.save_dir, o.side, o.train, o.val, o.seed, o.split)


def _tree_flags(p, sets: str) -> None:
    p.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a VOC tree: the folder with VOC2007/ and so on",
    )
    p.add_argument(
        "--sets", nargs="+", required=True, metavar="YEAR/SET", help=f"image sets, such as {sets}"
    )


def _add_detector(commands) -> None:
    p = command(
        commands, "train-detector", _detector, "train a Faster R-CNN on clean images of a VOC tree"
    )
    _tree_flags(p, "VOC2007/trainval")
    p.add_argument("--name", default="voc", help="name of the data set in results")
    p.add_argument("--arch", default="tiny", help="tiny, or fasterrcnn_resnet50_fpn and so on")
    p.add_argument(
        "--weights", default="scratch", help="of the backbone: 'scratch', or IMAGENET1K_V1"
    )
    p.add_argument("--side", type=int, default=96, help="images are fitted into a square, pixels")
    save_dir_flag(p, "for detector.safetensors")
    schedule_flags(p)
    runtime_flags(p)


def _detector(o) -> None:
    from ra.analysis.dense.job import run_train_detector

    run_train_detector(
        o.data,
        o.sets,
        o.name,
        o.side,
        o.arch,
        o.weights,
        schedule(o),
        runtime(o),
        device(o),
        o.save_dir,
    )


def _detector_file(p) -> None:
    p.add_argument(
        "--detector",
        type=Path,
        required=True,
        metavar="FILE",
        help="detector.safetensors; it has the size of images and the classes",
    )


def _add_train(commands) -> None:
    p = command(
        commands, "train-through-detector", _train, "train P through the losses of a fixed detector"
    )
    _tree_flags(p, "VOC2007/trainval")
    _detector_file(p)
    task_flags(p, default="sr")
    p.add_argument("--mode", default="ra", help="ra, or plain on the same images")
    p.add_argument(
        "--l", type=float, default=0.001, metavar="LAMBDA", help="weight of the detector's losses"
    )
    processor_flags(p.add_argument_group("networks"))
    save_dir_flag(p, "for processor.safetensors")
    schedule_flags(p)
    runtime_flags(p)


def _train(o) -> None:
    from ra.analysis.dense.job import run_train_through_detector

    network = {"arch": o.sr_arch, "channels": o.channels, "blocks": o.blocks}
    run_train_through_detector(
        o.data,
        o.sets,
        o.task,
        task_settings(o),
        o.mode,
        o.l,
        o.detector,
        network,
        schedule(o),
        runtime(o),
        device(o),
        o.save_dir,
    )


def _add_judge(commands) -> None:
    p = command(commands, "judge-detection", _judge, "mAP of a detector on the output of P's")
    _tree_flags(p, "VOC2007/test")
    _detector_file(p)
    files_flag(
        p, "--models", "processor.safetensors files of one task, whatever they were trained with"
    )
    p.add_argument("--rounds", type=int, default=200, help="bootstrap samples for intervals")
    p.add_argument("--batch", type=int, default=25, help="images at once")
    save_dir_flag(p, "for detection.csv and detections.png")
    runtime_flags(p)


def _judge(o) -> None:
    from ra.analysis.dense.job import run_judge_detection

    run_judge_detection(
        o.data,
        o.sets,
        o.detector,
        o.models,
        o.rounds,
        o.batch,
        runtime(o),
        device(o),
        o.save_dir,
    )


def _add_table(commands) -> None:
    p = command(
        commands,
        "detection-table",
        _table,
        "transfer between classifiers and a detector, both ways",
    )
    files_flag(p, "--detections", "detection.csv files: P's judged by a detector")
    files_flag(
        p,
        "--evaluations",
        "evaluation.csv files: P's trained with the detector, judged by classifiers",
    )
    save_dir_flag(p, "for by_detector.csv, by_classifiers.csv and detection.md")


def _table(o) -> None:
    from ra.analysis.dense.table import write_detection_tables

    write_detection_tables(o.detections, o.evaluations, o.save_dir)
