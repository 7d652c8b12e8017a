"""Layouts of the tables, from tidy rows made by hand."""

import re

import pandas as pd
import pytest

from ra.errors import UserError
from ra.evaluation.quality import MEASURES, measure
from ra.reporting.tables import write_tables, write_transfer


def row(task, p_model, r, metric, value, weight=0.0, training_r="resnet18", seed=0):
    return {
        "dataset": "d",
        "task": task,
        "p_model": p_model,
        "lambda": weight,
        "training_r": "none" if p_model in ("clean", "plain", "no_processing") else training_r,
        "seed": seed,
        "evaluation_r": r,
        "metric": metric,
        "value": value,
        "low": value,
        "high": value,
        "n": 10,
    }


@pytest.fixture
def evaluations(tmp_path):
    rows = []
    models = ["ra", "no_processing", "ra_unsupervised", "plain", "ra_transformer"]
    for number, p_model in enumerate(models):
        for task in ("sr", "dn"):
            rows += [
                [
                    row(task, p_model, "resnet18", "top1", 50.04 + number),
                    row(task, p_model, "vgg16_bn", "top1", 40 + number),
                    row(task, p_model, "none", "psnr", 24.1234),
                    row(task, p_model, "none", "ssim", 0.7),
                ]
            ]
    return write(tmp_path, rows)


def write(folder, tables):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.csv" for number in range(len(tables))]
    for path, rows in zip(paths, tables, strict=True):
        pd.DataFrame(rows).to_csv(path, index=False)
    return paths


def test_the_papers_layout(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", ["resnet18", "vgg16_bn"])
    assert (tmp_path / "out/sr.csv").read_text().splitlines() == [
        "P Model/Evaluation on R,ResNet-18,VGG-16",
        "No Processing,51.0,41.0",
        "Plain Processing,53.0,43.0",
        "RA Processing,50.0,40.0",
        "RA with Transformer,54.0,44.0",
        "Unsupervised RA,52.0,42.0",
    ]


@pytest.fixture
def clean(tmp_path):
    """The evaluation of clean images, which belong to no task."""
    answers = [row("none", "clean", r, "top1", 90.0) for r in ("resnet18", "vgg16_bn", "net")]
    return write(
        tmp_path / "clean", [[*answers, row("none", "clean", "none", "psnr", float("inf"))]]
    )


def test_clean_images_are_the_first_row_of_every_tasks_table(evaluations, clean, tmp_path):
    write_tables([*evaluations, *clean], tmp_path / "out", ["resnet18", "vgg16_bn"])
    for task in ("sr", "dn"):
        lines = (tmp_path / f"out/{task}.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:3]] == ["Clean Images", "No Processing"]
        assert lines[1] == "Clean Images,90.0,90.0"
    _, bold = latex_cells(tmp_path / "out/sr.tex")  # the ceiling is no rival
    assert bold[1] == [False, False, False] and bold[5] == [False, True, True]
    assert not (tmp_path / "out/none.csv").exists()
    assert "inf" not in (tmp_path / "out/quality.csv").read_text()


def test_clean_images_are_the_first_row_of_the_matrices(matrix, clean, tmp_path):
    write_transfer([*matrix, *clean], tmp_path / "out", ["resnet18", "net"])
    for name in ("transfer_sr", "table1_sr"):
        lines = (tmp_path / f"out/{name}.csv").read_text().splitlines()
        assert lines[1:3] == ["Clean Images,90.0,90.0", "Plain Processing,10.0,10.0"]


def test_markdown_has_the_numbers_of_the_csv(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [])
    for name in ("sr", "dn", "quality"):
        markdown = (tmp_path / f"out/{name}.md").read_text().splitlines()
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown]
        csv = [line.split(",") for line in (tmp_path / f"out/{name}.csv").read_text().splitlines()]
        if name != "quality":  # which recognizer trained the processors is for people
            assert cells[0][1:] == ["ResNet-18 (training R)", "VGG-16"]
            cells[0][1] = "ResNet-18"
        assert [cells[0], *cells[2:]] == csv


def test_a_table_is_a_page_as_well(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [])
    page = (tmp_path / "out/sr.html").read_text()
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", line) for line in page.split("<tr>")[1:]]
    csv = [line.split(",") for line in (tmp_path / "out/sr.csv").read_text().splitlines()]
    assert rows[0][1] == "ResNet-18 (training R)" and rows[1:] == csv[1:]


def latex_cells(path):
    r"""Rows of cells of a tabular, without \textbf and intervals, and what was bold."""
    rows, bold = [], []
    for line in path.read_text().splitlines():
        if line.endswith(r"\\"):
            cells = line.removesuffix(r" \\").split(" & ")
            cells = [re.sub(r" \{\\scriptsize .*?\}$", "", cell) for cell in cells]
            bold.append([cell.startswith(r"\textbf") for cell in cells])
            rows.append([re.sub(r"\\textbf\{(.*)\}", r"\1", cell) for cell in cells])
    return rows, bold


def test_latex_has_the_numbers_of_the_csv_and_the_best_in_bold(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [])
    cells, bold = latex_cells(tmp_path / "out/sr.tex")
    csv = [line.split(",") for line in (tmp_path / "out/sr.csv").read_text().splitlines()]
    assert cells[0][1:] == ["ResNet-18 (training R)", "VGG-16"]
    assert [["P Model/Evaluation on R", "ResNet-18", "VGG-16"], *cells[1:]] == csv
    best = [max(row[column] for row in csv[1:]) for column in (1, 2)]
    assert [[v == b for v, b in zip(row[1:], best, strict=True)] for row in csv[1:]] == [
        marks[1:] for marks in bold[1:]
    ]
    assert r"\toprule" in (tmp_path / "out/sr.tex").read_text()


def test_latex_groups_tasks_and_shows_intervals(tmp_path):
    rows = [row("s_r", "ra", "none", m, 2.0) | {"low": 1.5, "high": 2.25} for m in ("psnr", "ssim")]
    rows.append(row("s_r", "ra", "r", "top1", 50.0))
    write_tables(write(tmp_path, [rows]), tmp_path / "out", [])
    text = (tmp_path / "out/quality.tex").read_text()
    assert r"\textbf{2.000} {\scriptsize [1.500, 2.250]}" in text and r"s\_r & RA Proc" in text
    cells, _ = latex_cells(tmp_path / "out/quality.tex")
    assert cells[1] == [r"s\_r", "RA Processing", "2.000", "2.000"]


def test_the_papers_figures_are_in_latex_as_well(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [], paper=True)
    cells, bold = latex_cells(tmp_path / "out/paper.tex")
    csv = [line.split(",") for line in (tmp_path / "out/paper.csv").read_text().splitlines()]
    assert [[c.replace(r"\_", "_") for c in row] for row in cells] == csv
    assert not any(any(marks) for marks in bold)


def test_quality_has_a_row_for_every_task_and_model(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [])
    table = pd.read_csv(tmp_path / "out/quality.csv")
    assert list(table.columns) == ["Task", "P Model", "PSNR (dB)", "SSIM"]
    assert len(table) == 10 and table["PSNR (dB)"].tolist() == [24.123] * 10


def test_all_csv_holds_every_row(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [])
    tidy = pd.read_csv(tmp_path / "out/all.csv")
    assert len(tidy) == 40


def test_seeds_are_averaged(tmp_path):
    paths = write(
        tmp_path,
        [
            [
                row("sr", "ra", "r", "top1", v, seed=s),
                row("sr", "ra", "none", "psnr", 20),
                row("sr", "ra", "none", "ssim", 1),
            ]
            for s, v in ((0, 50), (1, 60))
        ],
    )
    write_tables(paths, tmp_path / "out", [])
    assert "RA Processing,55.0" in (tmp_path / "out/sr.csv").read_text()


def test_several_lambdas_and_training_rs_are_rows_of_their_own(tmp_path):
    cases = [(0.1, "a", 1), (0.2, "a", 2), (0.1, "b", 3)]
    paths = write(
        tmp_path,
        [
            [
                row("sr", "ra", "r", "top1", v, w, t),
                row("sr", "ra", "none", "psnr", 2),
                row("sr", "ra", "none", "ssim", 1),
            ]
            for w, t, v in cases
        ],
    )
    write_tables(paths, tmp_path / "out", [])
    text = (tmp_path / "out/sr.csv").read_text()
    assert '"RA Processing, lambda 0.1, R a",1.0' in text
    assert '"RA Processing, lambda 0.1, R b",3.0' in text


def test_the_paper_stands_beside_ours_with_the_difference(evaluations, tmp_path):
    write_tables(evaluations, tmp_path / "out", [], paper=True)
    table = pd.read_csv(tmp_path / "out/paper.csv")
    line = table[(table.Task == "Super-resolution") & (table["P Model"] == "RA Processing")]
    line = line[line.R == "VGG-16"]
    assert line[["ours", "paper", "difference"]].values.tolist() == [[40.0, 58.2, -18.2]]


def test_what_is_no_evaluation_is_named(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="bad.csv: not an evaluation; no column dataset"):
        write_tables([tmp_path / "bad.csv"], tmp_path / "out", [])
    with pytest.raises(UserError, match="missing.csv: cannot be read"):
        write_tables([tmp_path / "missing.csv"], tmp_path / "out", [])


def test_an_unknown_column_is_named(evaluations, tmp_path):
    with pytest.raises(UserError, match="--recognizers: resnet50 is in no evaluation"):
        write_tables(evaluations, tmp_path / "out", ["resnet50"])


@pytest.fixture
def matrix(tmp_path):
    rows = [[row("sr", "plain", r, "top1", 10.0) for r in ("resnet18", "net")]]
    for number, trained in enumerate(("net", "resnet18")):
        rows += [
            [
                row("sr", "ra", "resnet18", "top1", 20.0 + number, training_r=trained),
                row("sr", "ra", "net", "top1", 30.0 + number, training_r=trained),
            ]
        ]
    return write(tmp_path, rows)


def test_the_transfer_matrix_has_a_row_for_each_training_recognizer(matrix, tmp_path):
    write_transfer(matrix, tmp_path / "out", ["resnet18", "net"])
    assert (tmp_path / "out/transfer_sr.csv").read_text().splitlines() == [
        "Training R/Evaluation on R,ResNet-18,net",
        "Plain Processing,10.0,10.0",
        "ResNet-18,21.0,31.0",
        "net,20.0,30.0",
    ]
    assert (tmp_path / "out/transfer_sr.png").stat().st_size > 1000


def test_table_one_has_each_recognizer_on_its_own_processor(matrix, tmp_path):
    write_transfer(matrix, tmp_path / "out", ["resnet18", "net"])
    assert (tmp_path / "out/table1_sr.csv").read_text().splitlines() == [
        "P Model/Training and evaluation R,ResNet-18,net",
        "Plain Processing,10.0,10.0",
        "RA Processing,21.0,30.0",
    ]


def test_a_users_own_objective_has_a_row_under_its_name_behind_the_papers(tmp_path):
    paths = write(
        tmp_path,
        [
            [
                row("sr", p_model, "resnet18", "top1", 50),
                row("sr", p_model, "none", "psnr", 20),
                row("sr", p_model, "none", "ssim", 1),
            ]
            for p_model in ("ra_hinge", "ra_unsupervised", "plain")
        ],
    )
    write_tables(paths, tmp_path / "out", [])
    names = [line.split(",")[0] for line in (tmp_path / "out/sr.csv").read_text().splitlines()]
    assert names[1:] == ["Plain Processing", "Unsupervised RA", "ra_hinge"]


def few(*cases):
    """A table per case (objective, lambda, training R, top-1) of task sr."""
    return [
        [
            row("sr", p_model, "resnet18", "top1", value, weight, trained),
            row("sr", p_model, "none", "psnr", 20),
            row("sr", p_model, "none", "ssim", 1),
        ]
        for p_model, weight, trained, value in cases
    ]


def test_a_lambda_is_a_row_in_every_table(tmp_path):
    cases = [("plain", 0, "-", 50), ("ra", 1e-3, "resnet18", 61.8), ("ra", 1, "resnet18", 40)]
    paths = write(tmp_path, few(*cases))
    write_tables(paths, tmp_path, [], paper=True)
    write_transfer(paths, tmp_path, [])
    rows = {name: (tmp_path / f"{name}.csv").read_text() for name in ("transfer_sr", "table1_sr")}
    assert '"ResNet-18, lambda 0.001",61.8\n"ResNet-18, lambda 1",40.0' in rows["transfer_sr"]
    assert '"RA Processing, lambda 0.001",61.8' in rows["table1_sr"]
    paper = pd.read_csv(tmp_path / "paper.csv").query("`P Model` == 'RA Processing'")
    assert paper[["lambda", "ours"]].values.tolist() == [[0.001, 61.8], [1, 40]]


def test_two_results_for_one_identity_are_an_error_not_a_mean(tmp_path):
    paths = write(tmp_path, few(("ra", 0.1, "a", 50), ("ra", 0.1, "a", 60)))
    with pytest.raises(UserError, match=r"0.csv and .*1.csv: two results of one task, objective"):
        write_tables(paths, tmp_path / "out", [])


def test_two_data_sets_are_an_error_not_a_mean(tmp_path):
    tables = few(("ra", 0.1, "a", 50), ("ra", 0.1, "a", 60))
    tables[1] = [one | {"dataset": "e"} for one in tables[1]]
    with pytest.raises(UserError, match=r"several data sets \(d, e\)"):
        write_tables(write(tmp_path, tables), tmp_path / "out", [])


def test_one_image_has_a_mean_without_an_interval(tmp_path):
    table = few(("plain", 0, "-", 100))[0]
    table = [one | ({} if one["metric"] == "top1" else {"low": "", "high": ""}) for one in table]
    paths = write(tmp_path, [table])
    write_tables(paths, tmp_path / "out", [])
    assert "Plain Processing,20.000,1.000" in (tmp_path / "out/quality.csv").read_text()
    tex = (tmp_path / "out/quality.tex").read_text()
    assert r"\textbf{20.000} & \textbf{1.000} \\" in tex and "nan" not in tex


def test_a_measure_of_the_user_is_a_column_whose_best_may_be_the_lowest(tmp_path):
    tables = few(("plain", 0, "-", 50), ("ra", 1, "a", 60))
    for number, table in enumerate(tables):
        name = table[0]["p_model"]
        table += [row("sr", name, "none", m, number) for m in ("dist", "unheard")]

    @measure("dist", unit="1", higher_is_better=False, title="Distance")
    def dist(output, target):
        return output

    try:
        write_tables(write(tmp_path, tables), tmp_path / "out", [])
    finally:
        del MEASURES._entries["dist"]
    head, plain, aware = (tmp_path / "out/quality.csv").read_text().splitlines()
    assert head == "Task,P Model,PSNR (dB),SSIM,Distance,unheard"
    assert plain.endswith("0.000,0.000") and aware.endswith("1.000,1.000")
    cells = (tmp_path / "out/quality.tex").read_text().splitlines()[4].split(" & ")
    assert cells[4].startswith(r"\textbf{0.000}") and cells[5].startswith("0.000")
