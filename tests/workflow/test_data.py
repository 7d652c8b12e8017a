"""From a flat folder of photographs, and from pairs, to tables of agreement through snakemake."""

import pandas as pd
import yaml
from helpers import planned, snakemake, write_pairs, write_recognizer


def test_a_folder_without_labels_and_its_pairs_become_tables_of_agreement(tmp_path):
    targets, inputs = write_pairs(tmp_path, 2, size=(34, 36))
    for root in (targets, inputs):  # flat: no train/ and val/
        for split in ("train", "val"):
            for path in (root / split).iterdir():
                path.rename(root / f"{split}-{path.name}")
            (root / split).rmdir()
    write_recognizer(tmp_path)
    config = {
        "data": "photos",
        "images": {"resize": None, "crop": 32, "val_share": 0.4},
        "tasks": {"paired": {"input": "noisy"}},  # tests/cli/test_unlabelled.py has another
        "recognizers": {"train": ["my_net.yaml"], "evaluate": ["my_net.yaml"]},
        "objectives": {"plain": 0, "ra_unsupervised": 10},
        "processor": {"channels": 4, "blocks": 1, "schedule": {"epochs": 1, "batch_size": 8}},
        "runtime": {"workers": 1},
        "tracking": {"enabled": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    results = tmp_path / "results"
    table = pd.read_csv(results / "tables/paired.csv", index_col=0)
    assert list(table.index) == [
        "Clean Images",
        "No Processing",
        "Plain Processing",
        "Unsupervised RA",
    ]
    images = pd.read_csv(results / "photos/paired/plain/l0/none/seed0/images.csv")
    hits = images["my_net:prediction"] == images["my_net:clean"]
    assert table.loc["Plain Processing", "my_net"] == round(100 * hits.mean(), 1)
    assert "Agreement" in (results / "tables/significance.md").read_text()
    (tmp_path / "noisy/val-0.jp2").touch()
    assert planned(snakemake(tmp_path, "--dry-run"))["prepare"] == 1
