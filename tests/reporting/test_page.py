"""The report: its numbers are those of the evaluations, and a browser shows it whole."""

import re
import shutil

import pandas as pd
import pytest
import torch
from browser import chromium, needs_browser

from ra.cli import main
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

RS = {"resnet18": 0, "densenet121": 10}
MODELS = {"no_processing": 40.0, "plain": 50.0, "ra": 60.0}


@pytest.fixture(scope="session")
def evaluations(tmp_path_factory):
    """evaluation.csv, images.csv and processor.safetensors of three P models for sr."""
    folder = tmp_path_factory.mktemp("evaluations")
    paths = []
    for p_model, value in MODELS.items():
        place = folder / p_model
        place.mkdir()
        weight, trained_on = (0.001, "resnet18") if p_model == "ra" else (0.0, "none")
        identity = {"dataset": "tiny", "task": "sr", "p_model": p_model, "lambda": weight}
        identity |= {"training_r": trained_on, "seed": 0}
        rows = [
            {**identity, "evaluation_r": r, "metric": "top1", "value": value + extra}
            for r, extra in RS.items()
        ] + [
            {**identity, "evaluation_r": "none", "metric": metric, "value": number}
            for metric, number in (("psnr", 20.5), ("ssim", 0.625))
        ]
        tidy = pd.DataFrame(rows).assign(n=12)
        tidy = tidy.assign(low=tidy.value - 2, high=tidy.value + 3)
        tidy.to_csv(place / "evaluation.csv", index=False)
        images = {"index": range(12), "label": [number // 4 for number in range(12)]}
        for r in RS:
            right = [number % 2 if p_model == "ra" else 0 for number in range(12)]
            images[f"{r}:top1"] = right
            images[f"{r}:prediction"] = [
                label if hit else (label + 1) % 3
                for label, hit in zip(images["label"], right, strict=True)
            ]
        pd.DataFrame(images).to_csv(place / "images.csv", index=False)
        if p_model != "no_processing":
            torch.manual_seed(0)
            header = {"kind": "processor", "task": "sr", "objective": p_model, "lambda": weight}
            save_model(
                place / "processor.safetensors",
                build_processor("SRResNet", 4, channels=4, blocks=1),
                {**header, "recognizer": trained_on, "seed": 0, "settings": {"epochs": 7}},
            )
        paths.append(place / "evaluation.csv")
    row = {"task": "sr", "p_model": "ra", "lambda": 0.001, "training_r": "resnet18", "seed": 0}
    pd.DataFrame(
        [
            {**row, "evaluation_r": "resnet18", "difference": 10.0, "p_holm": 0.004},
            {**row, "evaluation_r": "densenet121", "difference": 10.0, "p_holm": 0.4},
        ]
    ).to_csv(folder / "significance.csv", index=False)
    return paths


@pytest.fixture(scope="session")
def report(evaluations, prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    command = ["report", "--quiet", "--evaluations", *evaluations, "--data", prepared]
    command += ["--significance", evaluations[0].parents[1] / "significance.csv"]
    assert main([str(part) for part in [*command, "--save-dir", out]]) == 0
    return out / "report.html"


def cells(page: str) -> dict[str, list[str]]:
    """P model -> text of its cells in the headline table."""
    table = re.search(r'<table class="headline">.*?</table>', page, re.S)[0]
    rows = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", table, re.S)
    return {
        name: [
            re.sub(r"<.*?>", " ", cell).split() for cell in re.findall("<td.*?</td>", rest, re.S)
        ]
        for name, rest in rows
    }


def test_the_table_holds_values_intervals_and_marks(report):
    found = cells(report.read_text())
    assert found["Plain Processing"] == [["50.0", "48.0–53.0"], ["60.0", "58.0–63.0"]]
    assert found["RA Processing"] == [["60.0", "▲", "58.0–63.0"], ["70.0", "68.0–73.0"]]


def test_the_headline_counts(report):
    text = re.sub(r"\s+", " ", report.read_text()).replace("&#39;", "'")
    assert "Super-resolution: 2 of 2 recognizers are more accurate after RA Processing" in text
    assert "+10.0 points of top-1 on average; 1 of 2 gains significant" in text
    assert "Against no processing it is +20.0 points" in text


def test_the_grid_shows_what_is_now_classified_correctly(report):
    """By the recognizer that took no part; one image of each class, the opposite is counted too."""
    page = report.read_text()
    text = re.sub(r"\s+", " ", page)
    assert "DenseNet-121 took no part" in text
    assert "Of 12 images it gets 6 wrong after plain and right after RA Processing (lambda" in text
    assert "0.001), and 0 right after plain and wrong after it" in text
    assert page.count('class="example"') == 3 and page.count('<img src="data:') == 12
    assert re.findall(r"[✓✗] \w", page) == ["✗ b", "✓ a", "✗ c", "✓ b", "✗ a", "✓ c"]


def test_the_page_is_one_file(report):
    page = report.read_text()
    # Links to namespaces are names, not addresses that are fetched.
    fetched = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert fetched == [] and "<script" not in page and "@import" not in page


def test_the_same_results_give_the_same_bytes(report, evaluations, prepared, tmp_path):
    command = ["report", "--evaluations", *evaluations, "--data", prepared]
    command += ["--significance", evaluations[0].parents[1] / "significance.csv"]
    assert main([str(part) for part in [*command, "--save-dir", tmp_path]]) == 0
    assert (tmp_path / "report.html").read_bytes() == report.read_bytes()


def test_a_page_without_pictures_marks_or_plain(evaluations, tmp_path):
    command = ["report", "--evaluations", evaluations[0], evaluations[2], "--save-dir", tmp_path]
    assert main([str(part) for part in command]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "differences are not marked" in page and "<img" not in page


def test_a_file_that_is_no_significance_is_named(evaluations, tmp_path, capsys):
    command = ["report", "--evaluations", *evaluations, "--significance", evaluations[0]]
    assert main([str(part) for part in [*command, "--save-dir", tmp_path]]) == 1
    assert "cannot be read as significance.csv" in capsys.readouterr().err


def test_a_page_needs_no_psnr_and_no_common_recognizer(evaluations, prepared, tmp_path):
    for path in evaluations[1:]:
        place = tmp_path / path.parent.name
        shutil.copytree(path.parent, place)
        tidy = pd.read_csv(path)
        tidy[tidy.metric != "psnr"].to_csv(place / path.name, index=False)
    images = pd.read_csv(tmp_path / "plain/images.csv")
    images.loc[:, ~images.columns.str.contains(":")].to_csv(
        tmp_path / "plain/images.csv", index=False
    )
    command = ["report", "--evaluations", tmp_path / "plain/evaluation.csv"]
    command += [tmp_path / "ra/evaluation.csv", "--data", prepared, "--save-dir", tmp_path / "out"]
    assert main([str(part) for part in command]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "PSNR (dB)" not in page and "<img" not in page


@needs_browser
def test_a_browser_shows_it(report):
    with chromium(1200, 900) as browser:
        browser.open(report.as_uri())
        said = browser.wait_for_text("How it was made", "RA Processing")
        assert "Images that are now classified correctly" in said and "{{" not in said
        loaded = "return [...document.images].every(i => i.complete && i.naturalWidth == 16)"
        assert browser.run(loaded)
        wide = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
        assert all(300 < width <= 1080 for width in browser.run(f"return {wide}"))
        root = "document.documentElement"
        assert browser.run(f"return {root}.scrollWidth <= {root}.clientWidth")
