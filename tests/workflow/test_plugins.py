"""Classes of a user's own files, through the DAG."""

import html
import re
import shlex

import pytest
import yaml
from helpers import ROOT, planned, snakemake

PLUGIN = """
from dataclasses import dataclass

from ra.data.degradations import TASKS
from ra.evaluation.quality import measure
from ra.training.objectives import OBJECTIVES, Objective


@TASKS.register("salt")
@dataclass(frozen=True)
class Salt:
    share: float = 0.1
    scale = 1


@OBJECTIVES.register("careful")
@dataclass(eq=False)
class Careful(Objective):
    needs_transformer = True
    strength: float = 0.5
    gentle: bool = True


@OBJECTIVES.register("blind")
@dataclass(eq=False)
class Blind(Objective):
    needs_recognizer = False
    default_weight = 0.0


@measure("sharpness", unit="", higher_is_better=True)
def sharpness(output, target, radius: int = 2):
    return output.mean((1, 2, 3))
"""


SIGMA = {"sigma": [0.02, 0.2]}


@pytest.fixture
def place(tmp_path):
    """The default experiment with a user's task and objectives, whose file has an odd name."""
    (tmp_path / "my {x} files").mkdir()
    (tmp_path / "my {x} files/it's.py").write_text(PLUGIN)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {
        "plugins": ["my {x} files/it's.py"],
        "tasks": {"salt": {"share": 0.05}, "chain": {"steps": ["salt", {"dn": SIGMA}]}},
        "metrics": {"psnr": {}, "sharpness": {"radius": 3}, "lpips": {"backbone": "vgg"}},
        "objectives": {"careful": {"lambda": [0.01, 0.1], "gentle": False}, "blind": 0},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_objectives_get_what_they_need_and_classes_and_chains_their_settings(place):
    run = snakemake(place, "--dry-run", "-p")
    said = run.stdout + run.stderr
    jobs = planned(run)
    assert (jobs["train"], jobs["train_with_transformer"]) == (2, 4)
    assert "results/embedded/salt/careful/l0.01/resnet18/seed0/transformer.safetensors" in said
    assert "results/embedded/salt/blind/l0/none/seed0/processor.safetensors" in said
    every = re.findall(r"ra train --.*", said)
    commands = [command for command in every if "--task salt" in command]
    assert len(commands) == 3 and len(every) == 6
    words = shlex.split(next(command for command in every if "--task chain" in command))
    first = words.index("--steps") + 1
    steps = [yaml.safe_load(word) for word in words[first : first + 2]]
    assert steps == [{"salt": {"share": 0.1}}, {"dn": SIGMA}] and words[first + 2][:2] == "--"
    plugin = "--plugins 'my {x} files/it'\"'\"'s.py'"
    assert all("--task salt --share 0.05 " in c and plugin in c for c in commands)
    careful = [c for c in commands if "--mode careful" in c]
    assert all("--strength 0.5 --no-gentle" in c and "--transformer-arch" in c for c in careful)
    measures = "--metrics lpips psnr sharpness --backbone vgg --radius 3 "
    assert said.count(measures) == 10  # of evaluations, and once to fetch their networks
    assert f"ra fetch-weights {measures}--weights scratch {plugin}" in said
    assert (jobs["fetch_measures"], "fetch_weights" in jobs) == (1, False)
    assert all(plugin in c for c in re.findall(r"ra (?:evaluate|table) .*", said))


def test_the_plugin_is_an_input_of_training_and_evaluation(place):
    """So that a changed file re-runs both; through a link, whose name has no braces."""
    graph = html.unescape(snakemake(place, "--filegraph").stdout)
    nodes = graph.split('point-size="18">')[1:]
    rules = {node.partition("<")[0] for node in nodes if "it's.py" in node}
    assert rules == {
        "train",
        "train_with_transformer",
        "evaluate",
        "evaluate_no_processing",
        "evaluate_clean",
    }
    link = re.search(r"\.snakemake/links/\w+/it's\.py", graph)[0]
    assert (place / link).read_text() == PLUGIN
