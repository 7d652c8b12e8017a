"""`ra train-recognizer` and `ra fetch-weights`."""

from typing import Any

import torch

from ra.data.batches import loader, validation_keys
from ra.data.degradations import build_task
from ra.data.folders import check_same_classes
from ra.data.splits import Crops, open_split
from ra.evaluation.evaluate import HITS, evaluate, summarise
from ra.evaluation.quality import MEASURES, build_measures
from ra.evaluation.statistics import POOLED
from ra.files import write_json
from ra.jobs.training import Training, run_training
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_processor, read_header
from ra.models.fixed import check_crop, pretrained_recognizer, stored_recognizer
from ra.models.recognizers import freeze
from ra.progress import Progress
from ra.settings.commands import FetchWeights, TrainRecognizer
from ra.settings.shared import SCRATCH
from ra.training.objectives import RecognizerTraining


def train_recognizer(o: TrainRecognizer) -> None:
    """Train a recognizer from scratch or further, or store pretrained weights for these classes."""
    split = open_split(**dict(o.source), split="train")
    validation = open_split(**dict(o.source), split="val")
    names = list(split.info.classes)
    weights = read_header(o.fine_tune, "recognizer")["weights"] if o.fine_tune else o.weights
    identity = {"arch": o.arch, "classes": names, "weights": weights}
    identity |= {"dataset": split.info.name, "data_digest": split.info.digest}
    identity["crop"] = split.info.crop
    if (weights == SCRATCH or o.fine_tune) and not split.info.objects:
        both = ({names[k] for k in set(s.labels.tolist()) if k >= 0} for s in (split, validation))
        check_same_classes(split.info.root, *both)
    side = split.info.crop if split.info.objects else None
    torch.manual_seed(o.runtime.seed)
    if o.fine_tune:
        recognizer = stored_recognizer(o.fine_tune, split.info)
    elif weights == SCRATCH:
        recognizer = build_recognizer(o.arch, len(names), input_size=side)
    else:
        recognizer = pretrained_recognizer(o.arch, names, weights, o.classes, side)
    ready = recognizer.trained and not o.fine_tune
    check_crop(recognizer, o.arch, split.info.crop)
    processor, task = None, None
    if o.model_sr:
        header = read_header(o.model_sr, "processor")
        task = build_task(header["task"], **header.get("task_settings", {}))
        processor = load_processor(o.model_sr)
        about = ("dataset", "task", "objective", "lambda", "recognizer", "seed")
        identity["learned_through"] = {key: header.get(key) for key in about}

    def clean_scores(where, run) -> dict[str, float]:
        """Top-1 and top-5, mAP or mIoU (%) on clean validation images."""
        if not names:
            return {}
        crops = Crops(validation, None)
        keys = validation_keys(len(crops), crop=split.info.crop)
        batches = loader(crops, keys, o.runtime.workers, where)
        images = evaluate(
            None, None, {"clean": freeze(recognizer)}, batches, 1, where, measures={}
        ).images
        rows = summarise(images, {})
        rows = rows[rows.metric.isin([*HITS, *POOLED])]
        score = {f"clean_{row.metric}": row.value for row in rows.itertuples()}
        run.log_metrics(score)
        return score

    job = Training(
        kind="train-recognizer",
        name=f"R {o.arch}",
        objective=RecognizerTraining(recognizer, processor),
        crops=Crops(split, task),
        identity=identity,
        fixed=(processor,),
        dataset=split.info,
        after=clean_scores,
        ready=ready,
    )
    run_training(job, o.schedule, o.runtime, o.save_dir)


def fetch_weights(o: FetchWeights) -> None:
    """Load every pretrained recognizer and every network of a measure once, which downloads what
    the cache lacks."""
    found: dict[str, dict] = {}
    measures: dict[str, Any] = build_measures(o.metrics, o.measure_settings)
    for name, measure in measures.items():
        if fetch := MEASURES.get(name).fetch:
            fetch(**measure.keywords)
            found[name] = measure.keywords
    names = () if o.weights == SCRATCH else o.recognizers
    for name in Progress(names, name="fetch weights", unit="recognizer"):
        found[name] = {"weights": o.weights, **build_recognizer(name, 1000, o.weights).header}
    write_json(o.save_dir / "weights.json", found)
