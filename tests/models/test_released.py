"""The authors' checkpoints, as stand-in classes of the same names write them; hostile ones."""

import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from torch import nn

from ra.errors import UserError
from ra.models.checkpoints import load_processor, save_model
from ra.models.released import import_checkpoint

FORMATS = [True, False]


class ResidualBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        y = self.bn1(self.conv1(x))
        return x + self.bn2(self.conv2(self.prelu(y)))


class UpsampleBLock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.prelu = nn.PReLU()

    def forward(self, x):
        return self.prelu(self.pixel_shuffle(self.conv(x)))


class ResNet(nn.Module):
    """method.md, "Networks", in parts block1 to block8."""

    def __init__(self, ups, width=8):
        super().__init__()
        self.residual = False
        self.block1 = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        for number in range(2, 7):
            setattr(self, f"block{number}", ResidualBlock(width))
        self.block7 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.PReLU())
        last = nn.Conv2d(width, 3, 9, padding=4)
        self.block8 = nn.Sequential(*(UpsampleBLock(width) for _ in range(ups)), last)

    def forward(self, x):
        first = self.block1(x)
        y = first
        for number in range(2, 8):
            y = getattr(self, f"block{number}")(y)
        return (torch.tanh(self.block8(first + y)) + 1) / 2


class ResnetBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        conv = [(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=False)) for _ in range(2)]
        norms = [nn.BatchNorm2d(width) for _ in range(2)]
        self.conv_block = nn.Sequential(*conv[0], norms[0], nn.ReLU(True), *conv[1], norms[1])

    def forward(self, x):
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """The pix2pix generator with padding layers of their own, the released transformer."""

    def __init__(self, width=4, blocks=6):
        super().__init__()
        w = width
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7, bias=False)]
        layers += [nn.BatchNorm2d(w), nn.ReLU(True)]
        for c in (w, 2 * w):
            layers += [nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * c)]
            layers += [nn.ReLU(True)]
        layers += [ResnetBlock(4 * w) for _ in range(blocks)]
        for c in (4 * w, 2 * w):
            layers += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1, bias=False)]
            layers += [nn.BatchNorm2d(c // 2), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return (self.model(x) + 1) / 2


@pytest.fixture
def script(monkeypatch):
    """The released script's modules exist while a file is written, and not when it is read."""
    homes = {"model_sr": (ResidualBlock, UpsampleBLock, ResNet)}
    homes["networks"] = (ResnetBlock, ResnetGenerator)
    for home, classes in homes.items():
        monkeypatch.setitem(sys.modules, home, types.ModuleType(home))
        for cls in classes:
            monkeypatch.setattr(cls, "__module__", home)
            setattr(sys.modules[home], cls.__name__, cls)
    return lambda: [monkeypatch.delitem(sys.modules, home) for home in homes]


def trained(module):
    """Weights and batch-norm statistics that are nowhere the initial ones; evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) / 10)
    return module.eval()


def write(path, module, as_zip):
    torch.save(nn.DataParallel(module), path, _use_new_zipfile_serialization=as_zip)
    return path


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("as_zip", FORMATS)
@pytest.mark.parametrize("ups", [0, 2])
def test_a_processor_gives_the_released_outputs(tmp_path, script, as_zip, ups):
    theirs = trained(ResNet(ups))
    path = write(tmp_path / "model_sr_epoch_5.pth", theirs, as_zip)
    script()
    ours = import_checkpoint(path)
    sizes = {"channels": 8, "blocks": 5, "skip": False, "padding": "zeros"}
    assert ours.header == {"arch": "SRResNet", "scale": 2**ups, **sizes}
    image = torch.rand(2, 3, 12, 8)
    assert torch.allclose(ours(image), theirs(image), rtol=0, atol=1e-6)
    save_model(tmp_path / "p.safetensors", ours, {"kind": "processor"})
    assert torch.equal(load_processor(tmp_path / "p.safetensors")(image), ours(image))


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("as_zip", FORMATS)
def test_a_transformer_gives_the_released_outputs(tmp_path, script, as_zip):
    theirs = trained(ResnetGenerator())
    path = write(tmp_path / "model_transformer_epoch_5.pth", nn.DataParallel(theirs), as_zip)
    script()
    ours = import_checkpoint(path)
    assert ours.header == {"arch": "pix2pix", "scale": 1, "channels": 4, "blocks": 6}
    image = torch.rand(2, 3, 16, 24)
    assert torch.allclose(ours(image), theirs(image), rtol=0, atol=1e-6)


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("as_zip", FORMATS)
@pytest.mark.parametrize("where", ["alone", "within"])
def test_a_hostile_pickle_is_refused_by_name_and_not_executed(tmp_path, script, as_zip, where):
    hostile = Hostile(f"touch {tmp_path / 'executed'}")
    path = tmp_path / "model.pth"
    if where == "alone":
        torch.save(hostile, path, _use_new_zipfile_serialization=as_zip)
    else:
        module = ResNet(0)
        module.block3.note = hostile
        write(path, module, as_zip)
    with pytest.raises(UserError, match=r"model.pth: refused: its pickle uses (posix|nt)\."):
        import_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__"])
def test_builtins_are_refused(tmp_path, name):
    path = tmp_path / "model.pth"
    path.write_bytes(f"cbuiltins\n{name}\n(S'1'\ntR.".encode())
    with pytest.raises(UserError, match=f"uses builtins.{name}, and only tensors"):
        import_checkpoint(path)


def test_a_bare_pickle_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Hostile(f"touch {tmp_path / 'executed'}")))
    with pytest.raises(UserError, match="refused: its pickle uses"):
        import_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("as_zip", FORMATS)
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, script, as_zip, keep):
    path = write(tmp_path / "model.pth", ResNet(0), as_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match="model.pth: damaged, or not a checkpoint of torch.save"):
        import_checkpoint(path)


def test_a_zip_that_unpacks_to_more_is_refused(tmp_path, script):
    path = write(tmp_path / "model.pth", ResNet(0), True)
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(UserError, match="packed.pth: damaged, or not a checkpoint"):
        import_checkpoint(packed)


def wide(_module):
    return nn.Conv2d(3, 8, 3)


def residual(module):
    module.residual = True
    return module


def other_layers(module):
    module.block4.prelu = nn.Linear(1, 1)
    return module


def nan(module):
    with torch.no_grad():
        module.block2.conv1.weight[0, 0, 0, 0] = float("nan")
    return module


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wide, "holds a Conv2d; the released networks are ResNet"),
        (residual, "predicts the residual, which is not supported"),
        (other_layers, "its ResNet has other layers than the released one"),
        (nan, "NaN or infinite weights in block2.conv1.weight"),
    ],
)
def test_other_networks_are_named(tmp_path, script, change, message):
    path = write(tmp_path / "model.pth", change(ResNet(0)), True)
    with pytest.raises(UserError, match=message):
        import_checkpoint(path)


def test_what_holds_no_module_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "model.pth")
    with pytest.raises(UserError, match="holds a list, not a module"):
        import_checkpoint(tmp_path / "model.pth")
    with pytest.raises(UserError, match="absent.pth: no such checkpoint"):
        import_checkpoint(tmp_path / "absent.pth")


# Small files that would take much memory or time. Each case changes the members of a good zip.


def members(tmp_path, change, **options):
    """A checkpoint whose records are ``change`` of the ones of a good file."""
    good = write(tmp_path / "good.pth", ResNet(0), True)
    with zipfile.ZipFile(good) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "model.pth", "w", **options) as archive:
        for name, data in change(records).items():
            archive.writestr(f"model/{name}", data)
    return tmp_path / "model.pth"


def refused(path, message="damaged, or not a checkpoint"):
    with pytest.raises(UserError, match=f"model.pth: {message}") as caught:
        import_checkpoint(path)
    assert len(str(caught.value)) < 500


def with_pickle(content: bytes):
    return lambda records: records | {"data.pkl": content}


def test_the_members_of_a_good_file_are_one(tmp_path, script):
    assert import_checkpoint(members(tmp_path, lambda records: records)).header["blocks"] == 5


def test_one_compressed_member_is_refused(tmp_path, script):
    def change(records):
        return records | {"extra": bytes(10**6)}

    refused(members(tmp_path, change, compression=zipfile.ZIP_DEFLATED), ".*compressed records")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # LONG_BINPUT of 2**31: a memo of 16 GB in C
        b"\x80\x02}" + b"K\x01" + b"\x85" * 200_000 + b"K\x01s.",  # a key that is a deep tuple
        b"\x80\x02}K\x01" + b"q\x01h\x01\x86" * 60 + b"K\x01s.",  # a key of 2**60 parts
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in each other
    ],
    ids=["memo", "deep key", "wide key", "deep list"],
)
def test_a_pickle_of_hostile_size_is_one_line(tmp_path, script, content):
    refused(members(tmp_path, with_pickle(content)))


def holds_itself(module):
    module.add_module("again", module)
    return module


def wrapped_in_itself(module):
    wrapper = nn.DataParallel(module)
    wrapper._modules["module"] = wrapper
    return wrapper


def doubled(module):
    """2**40 paths to one layer."""
    for _ in range(40):
        module = nn.Sequential(module, module)
    return module


def many_views(module):
    """A thousand tensors that are all of one storage."""
    whole = torch.rand(8 * 8 * 9)
    module.block3 = nn.Sequential(*(nn.PReLU() for _ in range(900)))
    for layer in module.block3:
        layer.weight = nn.Parameter(whole[:500])
    return module


def without_numbers(module):
    """A layer of 8000 x 0 weights."""
    module.block1[0].weight = nn.Parameter(torch.empty(8000, 0))
    return module


def wider_than_it_is(module):
    """The first layer says 9000 channels, in 36 kB; the others have 8."""
    module.block1[0].weight = nn.Parameter(torch.rand(9000, 1))
    return module


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (holds_itself, "(its ResNet has other layers|holds a ResNet)"),
        (wrapped_in_itself, "holds a DataParallel"),
        (doubled, "holds a Sequential"),
        (many_views, "damaged, .*more numbers than the file has bytes"),
        (without_numbers, "damaged, .*a tensor without numbers"),
        (wider_than_it_is, "its weights do not fit the architecture in its ResNet"),
    ],
)
def test_a_network_of_hostile_size_is_one_line(tmp_path, script, change, message):
    module = change(ResNet(0))
    torch.save(module, tmp_path / "model.pth")
    script()
    refused(tmp_path / "model.pth", message)
