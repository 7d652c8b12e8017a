"""VOC trees: a small one written here, the composed one, and what is wrong with bad ones."""

import numpy as np
import pytest
import torch
from PIL import Image

from ra.cli import main
from ra.data.batches import validation_keys
from ra.data.degradations import VALIDATION, build_task
from ra.data.embedded import BLOCK, COLOURS, blocks
from ra.data.prepare import prepare
from ra.data.scenes import OBJECTS, compose
from ra.data.splits import Crops, open_split
from ra.data.voc import CLASSES, VOID, read_annotation
from ra.errors import UserError

MAIN = ("VOC2007/Main/trainval",)
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


def opened(tree, crop=40, train=MAIN, val=MAIN, **more):
    """The training split of a tree, prepared."""
    out = tree.parent / "prepared"
    prepare(
        tree, out, name="voc", resize=None, crop=crop, sets={"train": train, "val": val}, **more
    )
    return open_split(out, "train")


def objects_of(split, index, epoch=VALIDATION):
    return Crops(split, None).__getitems__([(0, epoch, index)]).objects[0]


def test_objects_boxes_and_difficult_ones(tree):
    split = opened(tree)
    assert split.info.classes == tuple(CLASSES) and len(split) == 2
    found = objects_of(split, 0)
    # Counted from 1 with the last pixel in -> from 0 without it.
    assert found["boxes"].tolist() == [[0, 0, 20, 20], [20, 4, 40, 20]]
    assert [CLASSES[k - 1] for k in found["labels"]] == ["dog", "cat"]
    assert found["difficult"].tolist() == [False, True]
    assert objects_of(split, 1)["difficult"].tolist() == [False]


@pytest.mark.parametrize("decode", [True, False])
def test_images_are_fitted_into_the_square_and_boxes_go_with_them(tree, decode):
    split = opened(tree, crop=80, decode=decode)
    image = split.image(0)
    assert image.shape == (80, 80, 3)
    assert (image[:40, :, 0] > 200).all() and not image[40:].any()
    assert objects_of(split, 0)["boxes"].tolist() == [[0, 0, 40, 40], [40, 8, 80, 40]]


def test_the_label_is_the_class_of_the_largest_object(tree):
    (tree / "VOC2007/Annotations/000002.xml").write_text("<annotation></annotation>")
    assert opened(tree).labels.tolist() == [CLASSES.index("dog"), -1]


def test_the_classes_of_another_set_stand_in_a_file(tree):
    (tree / "classes.txt").write_text("bird\ncat\ndog\n")
    split = opened(tree, train=("VOC2007/Main/dog_trainval",))
    assert len(split) == 2 and objects_of(split, 0)["labels"].tolist() == [3, 2]
    (tree / "classes.txt").write_text("dog\n")
    with pytest.raises(UserError, match="classes.txt: has no line cat"):
        opened(tree)


def test_several_sets_are_one(tree):
    assert len(opened(tree, train=(*MAIN, "VOC2007/Main/dog_trainval"))) == 4


def test_masks_are_fitted_and_mirrored_as_the_images_are(tree):
    (tree / "VOC2007/SegmentationClass").mkdir()
    mask = np.zeros((20, 40), np.uint8)
    mask[:, :20], mask[0] = 8, VOID
    for name in ("000001", "000002"):
        numbers = Image.fromarray(mask, "P")
        numbers.putpalette(bytes(range(256)) * 3)
        numbers.save(tree / f"VOC2007/SegmentationClass/{name}.png")
    split = opened(tree)
    assert split.info.masks
    crops = Crops(split, None)
    plain = crops.__getitems__([(0, VALIDATION, 0)]).mask[0]
    assert (plain[20:] == VOID).all() and (plain[0] == VOID).all(), "what is added is void"
    assert (plain[1:20, :20] == 8).all() and not plain[1:20, 20:].any()
    flips = [crops.__getitems__([(0, epoch, 0)]) for epoch in range(12)]
    found = {bool(torch.equal(b.mask[0], plain.flip(1))): b.mirrored.item() for b in flips}
    assert found == {True: 1, False: 0}


def test_a_mask_of_colours_is_named(tree):
    (tree / "VOC2007/SegmentationClass").mkdir()
    for name in ("000001", "000002"):
        Image.new("RGB", (40, 20), "red").save(tree / f"VOC2007/SegmentationClass/{name}.png")
    with pytest.raises(UserError, match="SegmentationClass/000001.png: not class numbers"):
        objects_of(opened(tree), 0)


def test_changed_annotations_change_the_digest(tree):
    before = opened(tree).info.digest
    path = tree / "VOC2007/Annotations/000002.xml"
    path.write_text(path.read_text().replace("11.5", "12.5"))
    assert opened(tree).info.digest != before


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
        opened(tree)
    assert "000002.xml" in str(caught.value)


def test_an_annotation_without_objects_is_an_image_without_objects(tree):
    path = tree / "VOC2007/Annotations/000002.xml"
    path.write_text("<annotation></annotation>")
    assert read_annotation(path).boxes.shape == (0, 4)
    found = objects_of(opened(tree), 1)
    assert found["boxes"].shape == (0, 4) and found["labels"].shape == (0,)


def test_what_is_missing_is_named(tree):
    with pytest.raises(UserError, match="Main/test.txt: cannot be read"):
        opened(tree, val=("VOC2007/Main/test",))
    (tree / "VOC2007/JPEGImages/000002.jpg").unlink()
    with pytest.raises(UserError, match="000002.jpg: no such image"):
        opened(tree)


@pytest.mark.parametrize("name", ["../../../etc/passwd", ".hidden"])
def test_an_image_name_cannot_lead_out_of_the_tree(tree, name):
    (tree / "VOC2007/ImageSets/Main/trainval.txt").write_text(name + "\n")
    with pytest.raises(UserError, match="is not the name of an image"):
        opened(tree)


@pytest.mark.parametrize("given", [[], ["--train-sets", *MAIN]])
def test_a_tree_without_its_image_sets_is_no_folder_of_images(tree, tmp_path, given, capsys):
    words = ["prepare", "--data", str(tree), "--save-dir", str(tmp_path / "out"), *given]
    assert main(words) == 1
    assert "a VOC tree; name its image sets: --train-sets and" in capsys.readouterr().err


def test_flips_take_the_boxes_along(tree):
    crops = Crops(opened(tree), None)
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
    crops = Crops(opened(tree), build_task("sr"))
    batch = crops.__getitems__([(0, VALIDATION, 0), (0, VALIDATION, 1)]).to(torch.device("cpu"))
    assert batch.input.shape == (2, 3, 10, 10) and batch.target.shape == (2, 3, 40, 40)
    assert batch.target.dtype == torch.float32 and batch.target.max() <= 1
    assert len(batch.objects) == 2 and batch.index.tolist() == [0, 1]


COUNTS = {"train": 6, "val": 4}


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    out = tmp_path_factory.mktemp("composed")
    compose(out, 64, COUNTS)
    return out


def test_scenes_are_a_tree_with_objects_and_masks(composed, tmp_path):
    sets = {part: (f"VOC0000/Main/{part}",) for part in COUNTS}
    prepare(composed, tmp_path, name="scenes", resize=None, crop=64, sets=sets)
    for part, count in COUNTS.items():
        split = open_split(tmp_path, part)
        assert len(split) == count and split.info.classes == OBJECTS and split.info.masks
        batch = Crops(split, None).__getitems__(validation_keys(count)[0])
        for image, mask, found in zip(batch.target, batch.mask, batch.objects, strict=True):
            assert image.shape == (3, 64, 64) and 1 <= len(found["boxes"]) <= 3
            assert (found["boxes"] >= 0).all() and (found["boxes"] <= 64).all()
            for box, label in zip(found["boxes"].int().tolist(), found["labels"], strict=True):
                left, top, right, bottom = box
                inside = mask == label
                assert inside[(top + bottom) // 2, (left + right) // 2]
                assert 0.6 < inside[top:bottom, left:right].float().mean() < 0.9, "an ellipse"
            assert set(mask.unique().tolist()) == {0, *found["labels"].tolist()}
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in found["boxes"]]
        assert areas[0] == max(areas)


def test_scenes_are_the_same_each_time(composed, tmp_path):
    compose(tmp_path, 64, COUNTS)
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
    compose(tmp_path, 64, {"train": 8, "val": 0})
    part[0] = "val"
    compose(tmp_path, 64, {"train": 0, "val": 8})
    assert cut["train"] <= COLOURS["final"]["train"] and cut["val"] <= COLOURS["final"]["val"]
    assert cut["train"] and cut["val"] and not cut["train"] & cut["val"]


def test_composing_leaves_other_files_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    compose(tmp_path, 64, {"train": 1, "val": 1})
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert np.array(sorted(p.name for p in tmp_path.iterdir())).tolist() == [
        "VOC0000",
        "classes.txt",
        "notes.txt",
    ]
