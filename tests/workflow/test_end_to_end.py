"""One tiny experiment through snakemake: tables, pictures, per-image answers, runs in MLflow."""

from pathlib import Path

import pandas as pd
import pytest
from browser import chromium, needs_browser
from helpers import snakemake
from PIL import Image

from ra.models.checkpoints import read_header

P = "results/tiny/sr/ra/l0.001/squeezenet1_1/seed0"


def test_tables_are_in_the_papers_layout(tiny):
    place, _ = tiny
    table = pd.read_csv(place / "results/tables/sr.csv")
    assert list(table.columns) == ["P Model/Evaluation on R", "SqueezeNet-1.1", "own"]
    assert list(table.iloc[:, 0]) == [
        "Clean Images",
        "No Processing",
        "Plain Processing",
        "RA Processing",
        "RA with Transformer",
    ]
    for name in ("sr", "quality"):
        assert (place / f"results/tables/{name}.md").read_text().startswith("|")


def test_table_numbers_are_those_of_the_stored_answers(tiny):
    place, _ = tiny
    images = pd.read_csv(place / P / "images.csv")
    assert len(images) == 12
    table = pd.read_csv(place / "results/tables/sr.csv", index_col=0)
    wanted = round(100 * images["squeezenet1_1:top1"].mean(), 1)
    assert table.loc["RA Processing", "SqueezeNet-1.1"] == wanted
    card = (place / P / "README.md").read_text()
    assert f" {100 * images['squeezenet1_1:top1'].mean():.3f} [" in card


def test_every_job_has_a_log_and_a_benchmark(tiny):
    """Made once for all rules, in workflow/rules/each.smk."""
    results = (tiny[0] / "results").resolve()
    logs = {path.with_suffix("") for path in results.rglob("*.log") if path.parts[-2][0] != "."}
    measured = {Path(str(p).removesuffix(".benchmark.tsv")) for p in results.rglob("*.tsv")}
    assert logs == measured
    assert {path.name for path in logs} == {"prepare", "train", "evaluate", "table"}


def test_odd_names_reach_no_shell_and_no_pattern(tiny):
    place, config = tiny
    beside = Path(config["results"]).with_name("results 1")
    assert not list(beside.iterdir()) and not list(place.rglob("executed"))
    assert not list(beside.parent.rglob("executed"))
    assert sorted(path.name for path in beside.parent.iterdir()) == [
        "own weights {y}.pth",
        "own.yaml",
        "photos",
        "results 1",
        "results [1]",
    ]


def test_two_processes_train_as_a_team(tiny):
    """What `gpus: 2` starts, here on a CPU."""
    place, _ = tiny
    (results,) = (place / ".snakemake/links").glob("*/results [[]1]")
    target = results.relative_to(place) / "tiny/sr/plain/l0/none/seed1/processor.safetensors"
    team = "runtime={'gpus': 2, 'device': 'cpu'}"
    run = snakemake(place, target, "--config", team, "seeds=[1]", "tracking={'enabled': False}")
    assert run.returncode == 0, run.stderr[-3000:]
    assert "torchrun --standalone --nproc-per-node 2 -m -- ra train" in run.stderr
    assert len(pd.read_csv((place / target).with_name("training.csv"))) == 2


def test_a_corrupted_set_is_evaluated_with_every_processor_and_none(tiny):
    """As published, CORRUPTION/SEVERITY/CLASS/*: here the validation images, darker and darker."""
    place, config = tiny
    for file in Path(config["data"]).glob("val/*/*.png"):
        for severity in (1, 2):
            folder = place / f"dark-c/it's dark/{severity}" / file.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            dark = Image.open(file).resize((32, 32)).point(lambda v, s=severity: v // (2 * s))
            dark.save(folder / file.name)
    given = "analysis={'corruptions': {'data': 'dark-c', 'relative_to': 'own'}}"
    (results,) = (place / ".snakemake/links").glob("*/results [[]1]")
    table = results.relative_to(place) / "analysis/corruptions/mce.csv"
    run = snakemake(place, table, "--config", given, "tracking={'enabled': False}")
    assert run.returncode == 0, run.stderr[-3000:]
    mce = pd.read_csv(place / table).set_index(["p_model", "evaluation_r"])
    assert len(mce) == 8 and mce.mce["no_processing", "own"] == 100
    assert mce.difference["ra", "squeezenet1_1"] == pytest.approx(
        mce.mce["ra", "squeezenet1_1"] - mce.mce["plain", "squeezenet1_1"]
    )
    errors = pd.read_csv((place / table).with_name("corruptions.csv"))
    assert len(errors) == 16 and (errors.n == 12).all() and (errors.corruption == "it's dark").all()
    images = pd.read_csv(
        place / table.parents[2] / f"tiny/corruptions/it's dark/{P[13:]}/images.csv"
    )
    one = errors.query("p_model == 'ra' and evaluation_r == 'own' and severity == 2").squeeze()
    here = images[images.path.str.startswith("it's dark/2/")]
    assert one.error == pytest.approx(100 - 100 * here["own:top1"].mean()) and "psnr" not in images
    unknown = given.replace("'data'", "'corruptions': ['fog'], 'data'")
    run = snakemake(place, "--dry-run", "--config", unknown)
    said = (run.stdout + run.stderr).strip().splitlines()
    assert run.returncode and any(
        line.endswith("analysis.corruptions: dark-c: unknown corruption 'fog'; known: it's dark")
        for line in said
    ), said


def test_pictures_are_there(tiny):
    place, _ = tiny
    for name in ("strip.png", "accuracy.png"):
        with Image.open(place / P / name) as picture:
            assert picture.width > 200 and len(picture.getcolors(2**24)) > 10


def test_models_say_what_they_are(tiny):
    place, _ = tiny
    header = read_header(place / P / "processor.safetensors")
    assert (header["task"], header["objective"], header["lambda"]) == ("sr", "ra", 0.001)
    assert not (place / P / "state.pt").exists()


def test_logs_hold_a_progress_bar(tiny):
    place, _ = tiny
    assert "100%" in (place / P / "train.log").read_text()


@pytest.fixture(scope="module")
def runs(tiny):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tiny[0] / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("ra")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return client, {run.info.run_name: run for run in found}


def test_every_job_is_a_finished_run_of_one_dag(runs):
    _, by_name = runs
    kinds = pd.Series([run.data.tags["ra.kind"] for run in by_name.values()]).value_counts()
    assert kinds.to_dict() == {"train-recognizer": 1, "train": 3, "evaluate": 5, "table": 1}
    assert {run.info.status for run in by_name.values()} == {"FINISHED"}
    assert len({run.data.tags["ra.dag"] for run in by_name.values()}) == 1


def test_a_training_has_parameters_metrics_and_checkpoints(runs):
    client, by_name = runs
    run = by_name["RA sr 0.001 squeezenet1_1 seed0"]
    assert run.data.params["lambda"] == "0.001" and run.data.params["device"] == "cpu"
    assert run.data.params["task.factor"] == "4" and run.data.params["processor.channels"] == "4"
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    assert {"image", "recognition", "epoch_image", "images_per_s", "wall_s"} <= set(
        run.data.metrics
    )
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "epoch_image")]
    assert steps == [3, 6]
    stored = [a.path for a in client.list_artifacts(run.info.run_id, "checkpoints")]
    assert stored == ["checkpoints/processor.safetensors"]


def test_an_evaluation_is_linked_to_the_training_it_judges(runs):
    client, by_name = runs
    training = by_name["RA sr 0.001 squeezenet1_1 seed0"]
    judged = by_name["evaluate RA sr 0.001 squeezenet1_1 seed0"]
    assert judged.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert "own/top1" in judged.data.metrics and "psnr" in judged.data.metrics
    stored = {a.path for a in client.list_artifacts(judged.info.run_id)}
    assert stored == {"evaluation.csv", "images", "images.json"}
    pictures = {
        a.path.partition("+")[0] for a in client.list_artifacts(judged.info.run_id, "images")
    }
    assert pictures == {"images/accuracy", "images/strip"}


def test_trainings_and_the_tables_carry_the_headline(tiny, runs):
    _, by_name = runs
    name = "RA sr 0.001 squeezenet1_1 seed0"
    found, tables = by_name[name].data.metrics, by_name["tables"].data.metrics
    table = pd.read_csv(tiny[0] / "results/tables/sr.csv", index_col=0)
    gain = table.loc["RA Processing", "own"] - table.loc["Plain Processing", "own"]
    assert found["unseen_accuracy"] == pytest.approx(table.loc["RA Processing", "own"], abs=0.051)
    assert found["gain_over_plain"] == pytest.approx(gain, abs=0.11)
    assert tables[f"{name}/gain_over_plain"] == found["gain_over_plain"]
    assert found["psnr"] == tables[f"{name}/psnr"] > 0
    assert "training recognizer SqueezeNet-1.1" in by_name[name].data.tags["mlflow.note.content"]


@pytest.fixture(scope="module")
def reports(tiny):
    """The page of `ra report`, and Snakemake's own report."""
    place, _ = tiny
    for arguments in (
        ["report", "tables"],
        ["--report", place / "results/all.html", "report", "tables"],
    ):
        run = snakemake(place, *arguments)
        assert run.returncode == 0, run.stderr[-3000:]
    return place / "results/report/report.html", place / "results/all.html"


def test_the_report_has_the_numbers_of_the_table(tiny, reports):
    table = pd.read_csv(tiny[0] / "results/tables/sr.csv", index_col=0)
    value = table.loc["RA Processing", "SqueezeNet-1.1"]
    assert f">{value:.1f}<" in reports[0].read_text()


@needs_browser
def test_snakemakes_report_begins_with_an_overview_in_words(reports):
    with chromium() as browser:
        browser.open(reports[1].as_uri())
        said = browser.wait_for_text("1 Overview", "Begin with 1 Overview")
        assert "Every processor runs once" in said
        assert all(name in said for name in ("2 Tables", "4 Accuracy of each", "5 Pictures"))

        def click(name):
            browser.open(reports[1].as_uri())
            browser.wait_for_text(name)
            links = "[...document.querySelectorAll('a')]"
            browser.run(f"{links}.find(a => a.innerText.trim() == '{name}').click()")

        click("2 Tables")
        browser.wait_for_text("Super-resolution: accuracy", "Gains over plain processing, tested")
        click("5 Pictures")
        browser.wait_for_text("RA with Transformer", "No Processing", "SqueezeNet-1.1")
        eye = "[...document.querySelectorAll('a')].find(a => a.getAttribute('iconname') == 'eye')"
        browser.run(f"{eye}.click()")
        browser.wait("return [...document.images].some(i => i.naturalWidth > 250)")
