"""Models on disk: round trips, and one line for every file that is not one."""

import json
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_processor, load_recognizer, read_header, save_model
from ra.models.processors import build_processor


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(0)
    processor = build_processor("SRResNet", 2, channels=4, blocks=1)
    path = tmp_path / "processor.safetensors"
    save_model(path, processor, {"kind": "processor", "network": processor.header, "task": "sr"})
    return path, processor


def test_a_processor_comes_back_as_it_was(stored):
    path, processor = stored
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(load_processor(path)(image), processor.eval()(image))
    assert read_header(path)["task"] == "sr"


def test_a_recognizer_comes_back_with_its_choice_of_logits(tmp_path):
    recognizer = build_recognizer("squeezenet1_1", 6).eval()
    recognizer.class_index = torch.tensor([5, 1])
    header = {"kind": "recognizer", "arch": "squeezenet1_1", "logits": 6, "input_size": None}
    save_model(tmp_path / "r.safetensors", recognizer, header)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_recognizer(tmp_path / "r.safetensors").eval()(image), recognizer(image))


def test_another_kind_is_refused(stored):
    with pytest.raises(UserError, match="is a processor, not a recognizer"):
        load_recognizer(stored[0])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="p.safetensors: no such model file"):
        load_processor(tmp_path / "p.safetensors")


def test_a_truncated_file_is_named(stored):
    path, _ = stored
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="damaged, or not a safetensors file"):
        load_processor(path)


def test_a_pickle_is_not_executed(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save(Hostile(), tmp_path / "p.safetensors")
    with pytest.raises(UserError, match="damaged, or not a safetensors file"):
        load_processor(tmp_path / "p.safetensors")
    assert not (tmp_path / "executed").exists()


def test_foreign_safetensors_are_named(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "p.safetensors")
    with pytest.raises(UserError, match="without the header of ra"):
        load_processor(tmp_path / "p.safetensors")


def test_weights_of_another_architecture_are_refused(stored):
    path, processor = stored
    header = {"kind": "processor", "network": {**processor.header, "channels": 8}}
    save_model(path, processor, header)
    with pytest.raises(UserError, match="do not fit the architecture"):
        load_processor(path)


def test_nan_weights_are_refused(stored):
    path, processor = stored
    state = processor.state_dict()
    state["block1.0.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, path, metadata={"ra": json.dumps(read_header(path))})
    with pytest.raises(UserError, match="NaN or infinite weights in block1.0.weight"):
        load_processor(path)


def test_the_network_goes_into_the_header_by_itself(tmp_path, stored):
    _, processor = stored
    save_model(tmp_path / "t.safetensors", processor, {"kind": "transformer"})
    header = read_header(tmp_path / "t.safetensors")
    assert header["network"] == processor.header
    assert {"format", "version"} <= set(header)
    assert load_processor(tmp_path / "t.safetensors").stored == header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"kind": "processor", "network": None}, "its header: network is a NoneType"),
        (
            {"kind": "processor", "network": {"arch": "SRResNet"}},
            "its header does not describe a network",
        ),
        (
            {"kind": "processor", "network": {"arch": "SRRes", "scale": 1}},
            "its header: unknown architecture 'SRRes'; nearest: SRResNet",
        ),
        ({"kind": "recognizer"}, "is a recognizer, not a processor or transformer"),
        ({"task": "sr"}, "without the header of ra"),
        ({"kind": "processor", "format": 99}, "which is newer; update ra"),
    ],
)
def test_headers_that_do_not_tell_the_network_are_named(tmp_path, stored, header, message):
    _, processor = stored
    path = tmp_path / "p.safetensors"
    save_model(path, processor, header)
    with pytest.raises(UserError, match=f"p.safetensors: .*{message}"):
        load_processor(path)


def test_a_file_of_torch_save_is_sent_to_the_importer(tmp_path, stored):
    torch.save(stored[1].state_dict(), tmp_path / "p.pth")
    with pytest.raises(UserError, match="looks like a file of torch.save: try ra import-checkpoi"):
        load_processor(tmp_path / "p.pth")


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty.safetensors").touch()
    for path in (tmp_path, tmp_path / "empty.safetensors"):
        with pytest.raises(UserError, match=f"{path}: damaged, or not a safetensors file"):
            load_processor(path)


def test_the_misfitting_tensor_is_named_with_its_shapes(stored):
    path, processor = stored
    save_model(path, processor, {"kind": "processor", "network": processor.header | {"blocks": 2}})
    with pytest.raises(UserError, match=r"block3.conv1.weight is missing and \d+ more"):
        load_processor(path)
    save_model(path, processor, {"kind": "processor", "network": processor.header | {"scale": 4}})
    with pytest.raises(UserError, match=r"do not fit .*: block4.5.weight is missing"):
        load_processor(path)


def test_a_model_file_follows_the_umask(stored, tmp_path):
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "q.safetensors", stored[1], {"kind": "processor"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "q.safetensors").stat().st_mode) == 0o640


SMALL = {"arch": "SRResNet", "scale": 1, "channels": 4, "blocks": 1}
CLASSIFIER = {"arch": "squeezenet1_1", "logits": 3, "input_size": None}


def write(path, kind, network, state=None, **header):
    """A model file of few bytes whose header says whatever is given."""
    header = {"kind": kind, "network": network, **header}
    save_file(state or {"x": torch.zeros(1)}, path, metadata={"ra": json.dumps(header)})
    return path


@pytest.fixture
def little_memory(monkeypatch):
    """Every network that is really built, and not on the meta device, is an error."""
    real = torch.nn.Parameter.__new__

    def checked(cls, data=None, requires_grad=True):
        assert data is None or data.is_meta or data.numel() < 1e6, "memory for a huge layer"
        return real(cls, data, requires_grad)

    monkeypatch.setattr(torch.nn.Parameter, "__new__", checked)


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("processor", SMALL | {"channels": 9000}),
        ("processor", SMALL | {"blocks": 10**9}),
        ("processor", SMALL | {"scale": 2**2000}),
        ("recognizer", CLASSIFIER | {"logits": 900_000}),
        ("recognizer", CLASSIFIER | {"arch": "vit_h_14", "input_size": 518}),
    ],
)
def test_a_small_file_takes_no_memory(tmp_path, little_memory, kind, network):
    path = write(tmp_path / "m.safetensors", kind, network)
    assert path.stat().st_size < 1000
    load = load_processor if kind == "processor" else load_recognizer
    with pytest.raises(
        UserError, match=r"m.safetensors: (its weights do not fit|its header: a net)"
    ):
        load(path)


@pytest.mark.parametrize(
    ("network", "header", "message"),
    [
        (SMALL, {"format": "x"}, "its header: format is a str"),
        (SMALL, {"format": 99}, "made by ra of format 99, which is newer"),
        (SMALL | {"arch": None}, {}, "unknown architecture|not describe a network"),
        (SMALL | {"arch": []}, {}, "its header does not describe a network"),
        (SMALL | {"scale": "4"}, {}, "its header does not describe a network"),
        (SMALL | {"channels": 10**30}, {}, "its header does not describe a network"),
        (CLASSIFIER | {"logits": -1}, {}, "its header: num_classes: -1 should be greater"),
        (CLASSIFIER | {"logits": 3_000_000}, {}, "num_classes: 3000000 should be less than"),
        (CLASSIFIER | {"logits": True}, {}, "its header: num_classes: True is no number"),
        (CLASSIFIER | {"arch": None}, {}, "its header: arch: None should be a valid string"),
        (CLASSIFIER | {"arch": "vit_b_16", "input_size": 7}, {}, "vit_b_16: input_size 7 does not"),
        (CLASSIFIER | {"input_size": 10**24}, {}, "input_size: 1000000000000000000000000 should"),
        ({"arch": "squeezenet1_1"}, {}, "its header does not describe a network .*'input_size'"),
        (CLASSIFIER, {"classes": 3}, "its header: classes is a int"),
    ],
)
def test_an_odd_header_is_one_line(tmp_path, network, header, message):
    kind = "processor" if "scale" in network else "recognizer"
    path = write(tmp_path / "m.safetensors", kind, network, **header)
    with pytest.raises(UserError, match=f"m.safetensors: .*({message})") as caught:
        (load_processor if kind == "processor" else load_recognizer)(path)
    assert "\n" not in str(caught.value)


def test_a_header_nested_without_end_is_one_line(tmp_path):
    text = '{"kind": ' + "[" * 100_000 + "]" * 100_000 + "}"
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"ra": text})
    with pytest.raises(UserError, match="m.safetensors: safetensors without the header of ra"):
        load_processor(tmp_path / "m.safetensors")


def test_a_field_that_a_header_lacks_is_named(stored):
    with pytest.raises(UserError, match="processor.safetensors: its header has no classes"):
        read_header(stored[0])["classes"]


@pytest.mark.parametrize("index", [torch.zeros(2, 2).long(), torch.tensor(1), torch.ones(2)])
def test_a_choice_of_logits_that_is_no_list_is_one_line(tmp_path, index):
    state = build_recognizer("squeezenet1_1", 3).state_dict() | {"class_index": index}
    path = write(tmp_path / "r.safetensors", "recognizer", CLASSIFIER, state)
    with pytest.raises(UserError, match="r.safetensors: class_index is not a list of logits"):
        load_recognizer(path)
