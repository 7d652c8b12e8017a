"""`ra export`: programs that compute what the processor does, at any size."""

import sys

import numpy as np
import pytest
import torch

from ra.cli import main
from ra.inference.process import load_networks

SHAPES = ((1, 3, 4, 6), (3, 3, 16, 11), (1, 3, 40, 33))


@pytest.fixture
def images():
    torch.manual_seed(0)
    return [torch.rand(shape) for shape in SHAPES]


def close(model, images, run):
    network, _ = load_networks(model)
    for image in images:
        with torch.no_grad():
            wanted = network(image).clamp(0, 1).numpy()
        assert np.abs(run(image) - wanted).max() < 1e-4 and wanted.std() > 0.01


def test_an_onnx_program_has_any_number_height_and_width(model, images, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    out = tmp_path / "made/p.onnx"
    assert main(["export", str(model), str(out)]) == 0
    assert capsys.readouterr().out.endswith(f" -> {out}\n")
    session = runtime.InferenceSession(out, providers=["CPUExecutionProvider"])
    close(model, images, lambda image: session.run(["restored"], {"image": image.numpy()})[0])


def test_a_torch_program_has_any_number_height_and_width(model, images, tmp_path):
    out = tmp_path / "p.pt2"
    assert main(["export", str(model), str(out), "--format", "torch", "--quiet"]) == 0
    program = torch.export.load(out).module()
    close(model, images, lambda image: program(image).detach().numpy())


def test_without_onnx_one_line_names_the_extra(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(model), str(tmp_path / "p.onnx")]) == 1
    said = capsys.readouterr().err
    assert "needs onnxscript; pip install 'ra[onnx]'" in said and "Traceback" not in said
    assert not (tmp_path / "p.onnx").exists()
