"""The study of a black box, and the sheet for people: written blind, read back."""

import shlex
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from helpers import write_photographs
from PIL import Image

from ra.analysis.black_box.sheet import preferences, read_sheet, write_sheet
from ra.analysis.black_box.study import agreement, as_classes, error_rates, png, readable
from ra.cli import main
from ra.data.prepare import prepare
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

CLASSES = ["a", "b", "c"]


def answered(ra: list[str | None], plain: list[str | None], clean: list[str | None]):
    """A table of answers about images of class a."""
    rows = []
    for index, answers in enumerate(zip(ra, plain, clean, strict=True)):
        given = dict(zip(("ra", "plain", "clean"), answers, strict=True)) | {"no_processing": None}
        keys = {"task": "sr", "training_r": "r", "lambda": 0.1, "index": index, "label": "a"}
        rows += [{**keys, "kind": kind, "answer": answer} for kind, answer in given.items()]
    table = pd.DataFrame(rows)
    return table.assign(**{"class": table.answer})


def test_agreement_with_the_label_and_with_the_clean_answer():
    table = answered(
        ra=["a", "a", "b", None], plain=["b", "a", "b", None], clean=["a", "b", "b", None]
    )
    held = agreement(table, ["label", "clean"]).set_index(["against", "kind"])
    assert held.value["label", "ra"] == 50 and held.value["label", "plain"] == 25
    assert held.value["clean", "ra"] == 50 and held.value["clean", "plain"] == 25
    assert held.value["label", "no_processing"] == 0, "no answer agrees with nothing"
    assert ("clean", "clean") not in held.index
    assert held.only_ra["label", "ra"] == 1 and held.only_plain["label", "ra"] == 0
    assert (
        (held.n == 4).all() and (held.low <= held.value).all() and (held.value <= held.high).all()
    )


def test_the_paired_test_counts_images_on_which_one_alone_agrees():
    ra = ["a"] * 10 + ["b"] * 2 + ["a"] * 8
    plain = ["b"] * 10 + ["a"] * 2 + ["a"] * 8
    held = agreement(answered(ra, plain, ra), ["label"]).set_index("kind")
    assert held.p["ra"] == pytest.approx(0.0386, abs=1e-4)  # 2 * P(X <= 2), X ~ Bin(12, 1/2)
    assert readable(held.reset_index())["only RA : only plain"].tolist() == ["10 : 2"]


def test_answers_are_mapped_to_classes(tmp_path):
    (tmp_path / "map.yaml").write_text("Katze: cat\n7: dog\n")
    found = as_classes(pd.Series(["Katze", "7", "bird", None]), tmp_path / "map.yaml")
    assert found.tolist()[:3] == ["cat", "dog", "bird"] and found.isna()[3]
    (tmp_path / "map.yaml").write_text("- a list\n")
    with pytest.raises(UserError, match="not a mapping from answers"):
        as_classes(found, tmp_path / "map.yaml")


def test_text_is_compared_by_characters_too():
    table = answered(
        ra=["abcd", "ab", "x"], plain=["abxx", "", "y"], clean=["abcd", "abc", ""]
    ).fillna("")
    held = agreement(table, ["clean"], text=True).set_index(["measure", "kind"])
    assert (held.n == 2).all(), "where the clean answer is empty there is nothing to compare with"
    assert held.value["agreement", "ra"] == 50 and held.value["agreement", "plain"] == 0
    rates = {"no_processing": 100, "plain": (50 + 100) / 2, "ra": (0 + 100 / 3) / 2}
    for kind, rate in rates.items():
        assert held.value["cer", kind] == pytest.approx(rate)
    ra = held.loc["cer", "ra"]
    assert (ra.only_ra, ra.only_plain) == (2, 0)
    assert ra.difference == pytest.approx(rates["ra"] - rates["plain"])
    assert ra.difference_low < ra.difference < ra.difference_high and 0 < ra.p < 1
    assert ra.p == pytest.approx(scipy.stats.ttest_rel([0, 100 / 3], [50, 100]).pvalue)
    with pytest.raises(UserError, match="found no text in any clean image"):
        agreement(table.assign(answer=""), ["clean"], text=True)


def test_the_rate_of_errors_in_characters():
    """Checked by hand: insert, delete and replace cost one each, case counts."""
    given = pd.Series(["kitten", "sitting!", "", "Sitting", "sitting sitting"])
    rates = error_rates(given, pd.Series(["sitting"] * 5))
    assert rates.round(4).tolist() == [round(100 * n / 7, 4) for n in (3, 1, 7, 1, 8)]


@pytest.fixture(scope="module")
def study(prepared, tmp_path_factory):
    """A finished study of a program that sees a class in the bytes of a file."""
    place = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    for objective, weight, r in (("plain", 0.0, "none"), ("ra", 0.001, "some")):
        header = {"kind": "processor", "dataset": "tiny", "task": "dn", "objective": objective}
        header |= {"lambda": weight, "recognizer": r, "seed": 0, "task_settings": {}}
        p = build_processor("SRResNet", scale=1, channels=4, blocks=1)
        save_model(place / f"{objective}.safetensors", p, header)
    (place / "box.py").write_text(
        "import sys\nfor f in sys.argv[1:]: print('abc'[sum(open(f, 'rb').read()) % 3])\n"
    )
    words = ["black-box", "--data", prepared, "--plain", place / "plain.safetensors"]
    words += ["--ra", place / "ra.safetensors", "--images", 12, "--device", "cpu", "--command"]
    words += [shlex.join([sys.executable, str(place / "box.py"), "{files}"]), "--save-dir"]
    arguments = [str(word) for word in words]
    assert main([*arguments, str(place / "out")]) == 0
    return place, arguments


def test_a_study_writes_answers_agreement_and_a_sheet(study):
    out = study[0] / "out"
    answers = pd.read_csv(out / "answers.csv")
    assert len(answers) == 4 * 12 and set(answers.answer) <= set(CLASSES)
    held = pd.read_csv(out / "agreement.csv").set_index(["against", "kind"])
    clean = answers[answers.kind == "clean"]
    assert held.value["label", "clean"] == pytest.approx(100 * (clean.answer == clean.label).mean())
    assert (out / "agreement.md").read_text().count("\n") == 4


def test_a_study_of_text_takes_all_white_space_for_one_space(study):
    place, arguments = study
    (place / "ocr.py").write_text(
        "import sys\nfrom PIL import Image\nanswers = ['', ' a\\n\\n b\\f', 'a b']\n"
        "print(answers[Image.open(sys.argv[1]).getpixel((3, 3))[0] % 3])"
    )
    program = shlex.join([sys.executable, str(place / "ocr.py"), "{file}"])
    given = [*arguments[: arguments.index("--command")], "--command", program, "--answers", "text"]
    out = place / "text"
    given = [*given, "--images", "4", "--against", "clean", "--save-dir", str(out)]
    assert main(given) == 0
    answers = pd.read_csv(out / "answers.csv", keep_default_na=False)
    assert set(answers.answer) == {"", "a b"}
    held = pd.read_csv(out / "agreement.csv")
    assert held.measure.unique().tolist() == ["agreement", "cer"]
    found = (answers[answers.kind == "clean"].answer != "").sum()
    assert (held.n == found).all() and 0 < found < 4
    assert [table.count("\n") for table in (out / "agreement.md").read_text().split("\n\n")] == [
        2,
        3,
    ]


def test_images_without_labels_are_compared_with_their_clean_answer(study, tmp_path, capsys):
    arguments = study[1]
    photographs = write_photographs(tmp_path / "photographs")
    prepare(photographs, tmp_path / "data", name="tiny", resize=20, crop=16)
    given = [str(tmp_path / "data") if word == arguments[2] else word for word in arguments]
    assert main([*given, str(tmp_path / "out"), "--against", "clean"]) == 0
    assert set(pd.read_csv(tmp_path / "out/agreement.csv").against) == {"clean"}
    assert main([*given, str(tmp_path / "out")]) == 1
    assert "no labels, which --against label needs" in capsys.readouterr().err


def test_a_second_run_sends_nothing_and_says_the_same(study, capsys):
    place, arguments = study
    cache = ["--cache", str(place / "out/cache")]
    assert main([*arguments, str(place / "again"), *cache]) == 0
    assert capsys.readouterr().out.startswith("0 images sent")
    for name in ("answers.csv", "sheet.csv", "key.csv"):
        assert (place / "again" / name).read_bytes() == (place / "out" / name).read_bytes()


def test_the_sheet_shows_differing_answers_and_not_which_is_whose(study):
    out = study[0] / "out"
    sheet, key = (pd.read_csv(out / f"{n}.csv", dtype=str) for n in ("sheet", "key"))
    key = key.rename(columns={"index": "image"})
    answers = pd.read_csv(out / "answers.csv").pivot(index="index", columns="kind", values="answer")
    assert len(sheet) == (answers.plain != answers.ra).sum() > 0
    assert not {"task", "index", "first", "kind", "label"} & set(sheet.columns)
    for shown, row in zip(sheet.itertuples(), key.itertuples(), strict=True):
        pair = answers.loc[int(row.image)]
        second = "ra" if row.first == "plain" else "plain"
        assert (shown.answer_1, shown.answer_2) == (pair[row.first], pair[second])
        with Image.open(out / shown.picture) as picture:
            assert min(picture.size) >= 256


def test_a_sheet_holds_no_formula(tmp_path):
    answers = {"clean": "a", "plain": "=1+1", "ra": "@x"}
    table = pd.DataFrame({"kind": answers.keys(), "answer": answers.values()})
    table = table.assign(task="sr", training_r="r", index=0, **{"lambda": 0.1})
    write_sheet(table, [png(torch.zeros(3, 4, 4))] * 3, items=1, seed=0, save_dir=tmp_path)
    sheet = pd.read_csv(tmp_path / "sheet.csv")
    assert {sheet.answer_1[0], sheet.answer_2[0]} == {"'=1+1", "'@x"}


def test_a_filled_sheet_is_unblinded_and_tested(tmp_path):
    key = pd.DataFrame({"item": ["001", "002", "003", "004"], "first": ["ra", "plain", "ra", "ra"]})
    key = key.assign(task="sr", index=range(4))
    key.to_csv(tmp_path / "key.csv", index=False)
    filled = pd.DataFrame({"item": key.item, "better": ["1", "2", " Both ", ""]})
    filled.to_csv(tmp_path / "sheet.csv", index=False)
    verdicts = read_sheet(tmp_path / "sheet.csv", tmp_path / "key.csv")
    assert verdicts.better.tolist() == ["ra", "ra", "both"]
    found = preferences(verdicts).set_index("task").loc["all"]
    assert (found.ra, found.plain, found.both, found.n) == (2, 0, 1, 2)
    assert found.value == 100 and found.p == 0.5
    files = [str(tmp_path / name) for name in ("sheet.csv", "key.csv")]
    words = ["black-box-sheet", "--sheet", files[0], "--key", files[1]]
    assert main([*words, "--save-dir", str(tmp_path)]) == 0
    assert (tmp_path / "preferences.md").read_text().startswith("|")


@pytest.mark.parametrize(
    ("better", "items", "message"),
    [
        (["1", "3"], ["001", "002"], "item 002: better is '3'; write one of 1, 2, both, neither"),
        (["1", "2"], ["001", "009"], "its items are not those of"),
        (["1", "2"], ["001", "001"], "its items are not those of"),
    ],
)
def test_a_wrong_sheet_is_refused(tmp_path, better, items, message):
    pd.DataFrame({"item": ["001", "002"], "first": ["ra", "ra"]}).to_csv(
        tmp_path / "key.csv", index=False
    )
    pd.DataFrame({"item": items, "better": better}).to_csv(tmp_path / "sheet.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_sheet(tmp_path / "sheet.csv", tmp_path / "key.csv")


def test_a_sheet_that_nobody_filled_has_no_winner(tmp_path):
    frame = pd.DataFrame({"item": ["001"], "first": ["ra"], "better": [""], "task": ["sr"]})
    for name in ("sheet", "key"):
        frame.drop(columns="better" if name == "key" else "first").to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    found = preferences(read_sheet(tmp_path / "sheet.csv", tmp_path / "key.csv"))
    assert found.n.tolist() == [0] and found.task.tolist() == ["all"]


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(0)
    r = build_recognizer("shufflenet_v2_x0_5", 3)
    header = {"kind": "recognizer", "arch": "shufflenet_v2_x0_5", "classes": CLASSES}
    save_model(tmp_path / "r.safetensors", r, header)
    return tmp_path / "r.safetensors", r.eval()


def test_predict_label_prints_the_class_of_each_file(stored, folder, tmp_path, capsys):
    path, r = stored
    files = sorted(folder.glob("val/*/*.png"))[:5]
    Image.new("RGB", (40, 33), "red").save(tmp_path / "other-size.png")
    files.insert(2, tmp_path / "other-size.png")
    words = ["predict-label", "--recognizer", path, "--device", "cpu", *files]
    assert main([str(word) for word in words]) == 0
    images = [torch.from_numpy(np.array(Image.open(f))).permute(2, 0, 1) / 255 for f in files]
    wanted = [CLASSES[int(r(image[None]).argmax())] for image in images]
    assert capsys.readouterr().out.split() == wanted


def test_predict_label_names_a_bad_file(stored, tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(b"nothing")
    words = ["predict-label", "--recognizer", str(stored[0]), "--device", "cpu"]
    assert main([*words, str(tmp_path / "x.png")]) == 1
    assert "x.png cannot be read: is not an image" in capsys.readouterr().err


def test_url_and_command_exclude_each_other(study, capsys):
    place, arguments = study
    assert main([*arguments, str(place / "none"), "--url", "https://x/y"]) == 1
    assert "--url and --command: give one" in capsys.readouterr().err
