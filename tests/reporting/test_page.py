"""The report: its numbers are those of the evaluations, and a browser shows it whole."""

import math
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
MODELS = {"clean": 80.0, "no_processing": 40.0, "plain": 50.0, "ra": 60.0}


@pytest.fixture(scope="session")
def evaluations(tmp_path_factory):
    """evaluation.csv and images.csv of clean images and three P models for sr, and processors."""
    folder = tmp_path_factory.mktemp("evaluations")
    paths = []
    for p_model, value in MODELS.items():
        place = folder / p_model
        place.mkdir()
        weight, trained_on = (0.001, "resnet18") if p_model == "ra" else (0.0, "none")
        task = "none" if p_model == "clean" else "sr"
        identity = {"dataset": "tiny", "task": task, "p_model": p_model, "lambda": weight}
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
            # RA wins the images of odd number but the last, which it loses; the later, the surer.
            won = [number % 2 if p_model == "ra" else 0 for number in range(12)]
            right = [*won[:11], int(p_model == "plain")]
            images[f"{r}:top1"] = right
            images[f"{r}:prediction"] = [
                label if hit else (label + 1) % 3
                for label, hit in zip(images["label"], right, strict=True)
            ]
            sure = [0.5 + number / 50 if hit else 0.1 for number, hit in enumerate(right)]
            images[f"{r}:recognition_loss"] = [-math.log(share) for share in sure]
        pd.DataFrame(images).to_csv(place / "images.csv", index=False)
        if p_model in ("plain", "ra"):
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
            {**row, "evaluation_r": "resnet18", "low": 4.0, "high": 16.0, "p_holm": 0.004},
            {**row, "evaluation_r": "densenet121", "low": -2.0, "high": 22.0, "p_holm": 0.4},
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


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<(?!td).*?>", " ", page.read_text()))


def test_the_table_holds_values_intervals_and_visible_tests(report):
    found = cells(report.read_text())
    assert list(found)[:2] == ["Clean Images", "No Processing"]
    assert found["Plain Processing"] == [["50.0", "48.0–53.0"], ["60.0", "58.0–63.0"]]
    assert found["RA Processing"] == [
        ["60.0", "58.0–63.0", "+10.0,", "p", "0.004", "▲"],
        ["70.0", "68.0–73.0", "+10.0,", "p", "0.4"],
    ]
    best = re.findall(r'<td class="best">(.*?)<', report.read_text())
    assert best == ["60.0", "70.0"]  # not those of clean images, the ceiling


def test_the_order_of_the_page(report):
    wanted = ["Does it help?", "Gains by recognizer", "What it looks like", "Top-1 accuracy"]
    wanted += ["What does it cost in image quality?", "Won and lost", "How it was made"]
    assert re.findall("<h2>(.*?)</h2>", report.read_text()) == wanted


def test_the_verdict_is_that_of_the_recognizer_that_took_no_part(report):
    """The worse comparison first; its interval is over the images where there is one seed."""
    text = text_of(report)
    verdict = text[text.index("Super-resolution") : text.index("Image quality:")]
    points = re.findall(r"([+−][\d.]+) points over (\w+) processing \[(.*?)\]", verdict)
    assert [one[:2] for one in points] == [("+10.0", "plain"), ("+20.0", "no")]
    # Of 12 images 5 are won and 1 is lost.
    changes = pd.Series([100.0] * 5 + [-100.0] + [0.0] * 6)
    low = changes.mean() - 1.959964 * changes.std() / math.sqrt(12)
    assert points[0][2].startswith(f"{low:+.1f}".replace("-", "−"))
    assert "No clear gain over plain processing" in verdict
    assert verdict.count("+10.0 by ResNet-18 (training R)") == 1
    assert "another one gives other figures" in text


def test_over_several_seeds_the_verdict_has_their_interval(evaluations, tmp_path):
    more = []
    for name, value in (("plain", 52.0), ("ra", 66.0)):
        place = tmp_path / name
        place.mkdir()
        tidy = pd.read_csv(evaluations[0].parents[1] / name / "evaluation.csv", dtype=str)
        tidy["seed"] = "1"
        tidy.loc[tidy.metric == "top1", "value"] = str(value)
        tidy.fillna("none").to_csv(place / "evaluation.csv", index=False)
        more.append(place / "evaluation.csv")
    command = ["report", "--evaluations", *evaluations, *more, "--save-dir", tmp_path / "out"]
    assert main([str(part) for part in command]) == 0
    text = text_of(tmp_path / "out/report.html")
    # Seed 0 gains 10 points, seed 1 gains 14: 12 on average, and Student's interval of two.
    assert "+12.0 points over plain processing [−13.4, +37.4]" in text
    assert "Every figure is the mean of 2 seeds" in text and "over the 2 seeds (Student)" in text


def test_wins_and_losses_are_those_whose_confidence_changes_most(report):
    """By the recognizer that took no part; one image of each class."""
    page = report.read_text()
    text = text_of(report)
    assert "DenseNet-121 took no part" in text
    assert "turns 5 wrong answers of plain into right ones, and 1 right ones into wrong" in text
    answers = re.findall(r"([✓✗]) (\w)</span><br>(\d+) %", page)
    won = [("✗", "a", "10"), ("✓", "c", "68"), ("✗", "c", "10"), ("✓", "b", "64")]
    won += [("✗", "b", "10"), ("✓", "a", "56")]
    assert answers == [*won, ("✓", "c", "72"), ("✗", "a", "10")]
    assert page.count("<figcaption>Difference") == 4


def test_flat_images_are_left_out(evaluations, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("ra.reporting.examples.FLAT", 1000.0)
    command = ["report", "--evaluations", *evaluations, "--data", prepared, "--save-dir", tmp_path]
    assert main([str(part) for part in command]) == 0
    assert "<figcaption>Difference" not in (tmp_path / "report.html").read_text()


def test_the_page_is_one_file(report):
    page = report.read_text()
    # Links to namespaces are names, not addresses that are fetched.
    fetched = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert fetched == [] and "<script " not in page and "@import" not in page


def test_the_same_results_give_the_same_bytes(report, evaluations, prepared, tmp_path):
    command = ["report", "--evaluations", *evaluations, "--data", prepared]
    command += ["--significance", evaluations[0].parents[1] / "significance.csv"]
    assert main([str(part) for part in [*command, "--save-dir", tmp_path]]) == 0
    assert (tmp_path / "report.html").read_bytes() == report.read_bytes()


def test_a_page_without_pictures_marks_or_plain(evaluations, tmp_path):
    command = ["report", "--evaluations", evaluations[1], evaluations[3], "--save-dir", tmp_path]
    assert main([str(part) for part in command]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "differences are not marked" in page and "<img" not in page


def test_a_file_that_is_no_significance_is_named(evaluations, tmp_path, capsys):
    command = ["report", "--evaluations", *evaluations, "--significance", evaluations[0]]
    assert main([str(part) for part in [*command, "--save-dir", tmp_path]]) == 1
    assert "cannot be read as significance.csv" in capsys.readouterr().err


def test_a_page_needs_no_psnr_and_no_common_recognizer(evaluations, prepared, tmp_path):
    for path in evaluations[2:]:
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
    assert "PSNR (dB)" not in page and "Won and lost" not in page
    assert "What it looks like" in page  # of any image


@needs_browser
def test_a_browser_shows_it(report):
    with chromium(1200, 900) as browser:
        browser.open(report.as_uri())
        said = browser.wait_for_text("How it was made", "RA Processing")
        assert "Won and lost" in said and "{{" not in said
        loaded = "return [...document.images].every(i => i.complete && i.naturalWidth >= 16)"
        assert browser.run(loaded)
        wide = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
        assert all(300 < width <= 1080 for width in browser.run(f"return {wide}"))
        # The slider: plain on the left, RA over it from the middle; then clean from 30 %.
        over = "document.querySelector('.over')"
        assert browser.run(f"return {over}.innerText || {over}.querySelector('img').alt") == "RA"
        browser.run(
            "const [left, cut, right] = document.querySelector('.controls').children;"
            "right.value = 3; cut.value = 30;"
            "cut.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        assert browser.run(f"return {over}.querySelector('img').alt") == "Clean"
        assert browser.run(f"return getComputedStyle({over}).clipPath") == "inset(0px 0px 0px 30%)"


@needs_browser
def test_a_phone_shows_it(report):
    """Nothing is wider than the screen but tables, which scroll; no text is tiny."""
    with chromium(390, 800, phone=True) as browser:
        browser.open(report.as_uri())
        browser.wait_for_text("How it was made")
        root = "document.documentElement"
        assert browser.run(f"return [{root}.clientWidth, {root}.scrollWidth]") == [390, 390]
        heights = "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect())"
        assert min(browser.run(f"return {heights}.map(box => Math.min(box.width, box.height))")) > 5
        assert min(browser.run(f"return {heights}.map(box => Math.max(box.width, box.height))")) > 9
        tables = "[...document.querySelectorAll('table')]"
        scroll = "getComputedStyle(t.parentElement).overflowX == 'auto'"
        assert browser.run(f"return {tables}.every(t => {scroll})")
