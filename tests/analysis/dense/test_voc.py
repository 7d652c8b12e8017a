"""VOC trees: a small one written here, the composed one, and what is wrong with bad ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from ra.analysis.dense.compose import OBJECTS, compose
from ra.analysis.dense.voc import DetectionCrops, VocImages, read_annotation

from ra.analysis.command_settings import ComposeDetection
from ra.data.degradations import VALIDATION, build_task
from ra.data.embedded import BLOCK, COLOURS, blocks
from ra.errors import UserError

XML = """<annotation><folder>VOC2007</folder><filename>{name}.jpg</filename>
<size><width>40</width><height>20</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>{difficult}
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
</part></object>"""


def thing(name, box, difficult="<difficult>0</difficult>") -> str:
    return OBJECT.format(*box, name=name, difficult=difficult)


@pytest.fixture
def tree(tmp_path):
    """VOC2007 with two images of 40 x 20 pixels, as the devkit lays them."""
    year = tmp_path / "VOCdevkit/VOC2007"
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (year / folder).mkdir(parents=True)
    objects = {
        "000001": thing("dog", (1, 1, 20, 20))
        + thing("cat", (21, 5, 40, 20), "<difficult>1</difficult>"),
        "000002": thing("cat", (11.5, 2, 30, 18), ""),
    }
    for name, text in objects.items():
        (year / "Annotations" / f"{name}.xml").write_text(XML.format(name=name, objects=text))
        Image.new("RGB", (40, 20), "red").save(year / "JPEGImages" / f"{name}.jpg")
    (year / "ImageSets/Main/trainval.txt").write_text("000001\n000002\n")
    (year / "ImageSets/Main/dog_trainval.txt").write_text("000001  1\n000002 -1\n")
    return tmp_path / "VOCdevkit"


def test_objects_boxes_and_difficult_ones(tree):
    images = VocImages(tree, ["VOC2007/trainval"], side=40)
    assert images.classes == ["cat", "dog"] and len(images) == 2
    _, found = images.load(0)
    # Counted from 1 with the last pixel in -> from 0 without it.
    assert found["boxes"].tolist() == [[0, 0, 20, 20], [20, 4, 40, 20]]
    assert found["labels"].tolist() == [2, 1] and found["difficult"].tolist() == [False, True]
    assert images.load(1)[1]["difficult"].tolist() == [False]


def test_images_are_fitted_into_the_square_and_boxes_go_with_them(tree):
    image, found = VocImages(tree, ["VOC2007/trainval"], side=80).load(0)
    assert image.shape == (80, 80, 3)
    assert (image[:40, :, 0] > 200).all() and not image[40:].any()
    assert found["boxes"].tolist() == [[0, 0, 40, 40], [40, 8, 80, 40]]


def test_a_class_list_of_another_set_has_its_labels(tree):
    classes = ["bird", "cat", "dog"]
    images = VocImages(tree, ["VOC2007/dog_trainval"], 40, classes)
    assert len(images) == 2 and images.load(0)[1]["labels"].tolist() == [3, 2]
    with pytest.raises(UserError, match="class cat is not among the detector's 1"):
        VocImages(tree, ["VOC2007/trainval"], 40, ["dog"])


def test_several_sets_are_one(tree):
    assert len(VocImages(tree, ["VOC2007/trainval", "VOC2007/dog_trainval"], 40)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object><name>dog</name></object></annotation>", "not a VOC annotation"),
        (XML.format(name="x", objects=thing("dog", (5, 5, 4, 9))), "a box from 5.0, 5.0"),
        (XML.format(name="x", objects=thing("dog", (0, 5, 4, 9))), "a box from 0.0, 5.0"),
        ("nothing", "ParseError"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        (
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation></annotation>',
            "with a document type",
        ),
    ],
)
def test_a_bad_annotation_is_named(tree, text, message):
    path = tree / "VOC2007/Annotations/000002.xml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        VocImages(tree, ["VOC2007/trainval"], 40)
    assert "000002.xml" in str(caught.value)


def test_an_annotation_without_objects_is_an_image_without_objects(tree):
    path = tree / "VOC2007/Annotations/000002.xml"
    path.write_text("<annotation></annotation>")
    assert read_annotation(path).boxes.shape == (0, 4)
    _, found = VocImages(tree, ["VOC2007/trainval"], 40).load(1)
    assert found["boxes"].shape == (0, 4) and found["labels"].shape == (0,)


def test_what_is_missing_is_named(tree):
    (tree / "VOC2007/JPEGImages/000002.jpg").unlink()
    with pytest.raises(UserError, match="000002.jpg: no such image"):
        VocImages(tree, ["VOC2007/trainval"], 40)
    with pytest.raises(UserError, match="Main/test.txt: cannot be read"):
        VocImages(tree, ["VOC2007/test"], 40)


@pytest.mark.parametrize("name", ["../../../etc/passwd", ".hidden"])
def test_an_image_name_cannot_lead_out_of_the_tree(tree, name):
    (tree / "VOC2007/ImageSets/Main/trainval.txt").write_text(name + "\n")
    with pytest.raises(UserError, match="is not the name of an image"):
        VocImages(tree, ["VOC2007/trainval"], 40)


def test_flips_take_the_boxes_along(tree):
    crops = DetectionCrops(VocImages(tree, ["VOC2007/trainval"], 40), None)
    plain = crops.__getitems__([(0, VALIDATION, 0)])
    flips = [crops.__getitems__([(0, epoch, 0)]) for epoch in range(12)]
    flipped = [
        b for b in flips if not torch.equal(b.objects[0]["boxes"], plain.objects[0]["boxes"])
    ]
    assert 0 < len(flipped) < 12
    for batch in flipped:
        assert batch.objects[0]["boxes"].tolist() == [[20, 0, 40, 20], [0, 4, 20, 20]]
        assert torch.equal(batch.target, plain.target.flip(-1))


def test_a_batch_is_degraded_and_moved_as_floats(tree):
    crops = DetectionCrops(VocImages(tree, ["VOC2007/trainval"], 40), build_task("sr"))
    batch = crops.__getitems__([(0, VALIDATION, 0), (0, VALIDATION, 1)]).to(torch.device("cpu"))
    assert batch.input.shape == (2, 3, 10, 10) and batch.target.shape == (2, 3, 40, 40)
    assert batch.target.dtype == torch.float32 and batch.target.max() <= 1
    assert len(batch.objects) == 2 and batch.index.tolist() == [0, 1]


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    out = tmp_path_factory.mktemp("composed")
    compose(ComposeDetection(save_dir=out, side=64, train=6, val=4, seed=0))
    return out


def test_the_composed_set_is_a_tree_with_objects(composed):
    for part, count in (("train", 6), ("val", 4)):
        images = VocImages(composed, [f"VOC0000/{part}"], 64, sorted(OBJECTS))
        assert len(images) == count
        for index in range(count):
            image, found = images.load(index)
            assert image.shape == (64, 64, 3) and 1 <= len(found["boxes"]) <= 3
            assert (found["boxes"] >= 0).all() and (found["boxes"] <= 64).all()
            left, top, right, bottom = found["boxes"][0].int().tolist()
            assert image[top:bottom, left:right].std() > 0


def test_the_composed_set_is_the_same_each_time(composed, tmp_path):
    compose(ComposeDetection(save_dir=tmp_path, side=64, train=6, val=4, seed=0))
    for file in sorted(composed.rglob("*.*")):
        assert file.read_bytes() == (tmp_path / file.relative_to(composed)).read_bytes()


def test_no_pixel_is_in_both_splits(monkeypatch, tmp_path):
    """Every piece is cut inside a block of its split; blocks of two splits share no pixel."""
    cut = {"train": set(), "val": set()}
    part = ["train"]
    crop = Image.Image.crop

    def noted(self, box=None):
        colours = {
            colour
            for colour, (left, top, right, bottom) in blocks(self.size, BLOCK * 40)
            if left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom
        }
        assert colours, "a piece reaches beyond its block"
        cut[part[0]] |= colours
        return crop(self, box)

    monkeypatch.setattr(Image.Image, "crop", noted)
    settings = {"save_dir": tmp_path, "side": 64, "seed": 0, "split": "final"}
    compose(ComposeDetection.model_construct(**settings, train=8, val=0))
    part[0] = "val"
    compose(ComposeDetection.model_construct(**settings, train=0, val=8))
    assert cut["train"] <= COLOURS["final"]["train"] and cut["val"] <= COLOURS["final"]["val"]
    assert cut["train"] and cut["val"] and not cut["train"] & cut["val"]


def test_composing_leaves_other_files_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    compose(ComposeDetection(save_dir=tmp_path, side=64, train=1, val=1))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert np.array(sorted(p.name for p in tmp_path.iterdir())).tolist() == ["VOC0000", "notes.txt"]
