"""VOC and YOLO folders become COCO files with the same boxes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from splitnet.errors import ConfigError
from training.data import voc as voc_module
from training.data.class_names import read_class_names
from training.data.coco import read_coco
from training.data.data_problems import DataProblems
from training.data.images import read_image
from training.data.label_folders import Converted, ConvertedImage, to_coco, write_coco
from training.data.voc import read_voc
from training.data.yolo import read_yolo


def image(path: Path, width: int = 100, height: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


def voc(name: str, *objects: tuple[str, tuple[object, ...]]) -> str:
    boxes = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for label, b in objects
    )
    return f"<annotation><filename>{name}</filename>{boxes}</annotation>"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_voc_box_of_the_whole_image_is_the_whole_image(tmp_path):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "xml" / "a.xml", voc("a.png", ("cat", (1, 1, 100, 50)), ("ant", (11, 21, 11, 22))))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert found.class_names == ("ant", "cat")
    assert found.images == (ConvertedImage("a.png", 100, 50, (("cat", (0, 0, 100, 50)), ("ant", (10, 20, 1, 2)))),)


def test_a_voc_file_may_leave_the_suffix_or_the_name_out(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / "images" / "deep" / f"{name}.png")
    write(tmp_path / "xml" / "deep" / "a.xml", voc("a", ("cat", (1, 1, 9, 9))))
    write(tmp_path / "xml" / "deep" / "b.xml", voc("", ("cat", (1, 1, 9, 9))))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert [p.name for p in found.images] == ["deep/a.png", "deep/b.png"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<annotation>", "unreadable XML (damaged)"),
        ("", "unreadable XML (damaged)"),
        ('<!DOCTYPE x [<!ENTITY a "aa">]><annotation/>', "unreadable XML (entities)"),
        (voc("nowhere.png", ("cat", (1, 1, 9, 9))), "image is missing, left out"),
        (voc("../b.png", ("cat", (1, 1, 9, 9))), "image outside the folder, left out"),
        (voc("/etc/passwd", ("cat", (1, 1, 9, 9))), "image outside the folder, left out"),
    ],
)
def test_a_voc_file_of_no_use_is_counted(tmp_path, text, kind):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "xml" / "a.xml", voc("a.png", ("cat", (1, 1, 9, 9))))
    bad = write(tmp_path / "xml" / "b.xml", text)
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert len(found.images) == 1
    assert found.problems.summary() == [f"1 x {kind}: {bad}"]


@pytest.mark.parametrize("box", [("x", 1, 9, 9), ("nan", 1, 9, 9), ("", 1, 9, 9)])
def test_a_voc_object_without_box_or_name_is_counted(tmp_path, box):
    image(tmp_path / "images" / "a.png")
    objects = (("cat", (1, 1, 9, 9)), ("cat", box), (" ", (1, 1, 9, 9)))
    write(tmp_path / "xml" / "a.xml", voc("a.png", *objects))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert len(found.images[0].objects) == 1
    assert found.problems.counts == {"object without name and box, left out": 2}


def test_a_huge_label_file_is_not_read(tmp_path, monkeypatch):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "xml" / "a.xml", voc("a.png", ("cat", (1, 1, 9, 9))))
    monkeypatch.setattr(voc_module, "MAX_LABEL_BYTES", 10)
    with pytest.raises(ConfigError, match=r"names no object in a readable image \(1 x unreadable XML \(over"):
        read_voc(tmp_path / "xml", tmp_path / "images")


def test_yolo_shares_become_pixels(tmp_path):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "txt" / "a.txt", "1 0.5 0.5 1 1\n\n0 0.25 0.5 0.1 0.2\n")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant", "cat"))
    (one,) = found.images
    assert one.objects[0] == ("cat", (0, 0, 100, 50))
    assert one.objects[1][0] == "ant"
    assert one.objects[1][1] == pytest.approx((20, 20, 10, 10))


def test_a_image_without_yolo_text_has_no_object(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / "images" / f"{name}.png")
    write(tmp_path / "txt" / "b.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert [(p.name, len(p.objects)) for p in found.images] == [("b.png", 1), ("a.png", 0)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 1", "line that is not a class and four numbers, left out"),
        ("0 0.5 0.5 1 1 0.9", "line that is not a class and four numbers, left out"),
        ("0 0.5 0.5 1 nan", "line that is not a class and four numbers, left out"),
        ("0 0.5 0.5 1 wide", "line that is not a class and four numbers, left out"),
        ("1 0.5 0.5 1 1", "unknown class number, left out"),
        ("-1 0.5 0.5 1 1", "unknown class number, left out"),
        ("ant 0.5 0.5 1 1", "unknown class number, left out"),
    ],
)
def test_a_yolo_line_of_no_use_is_named(tmp_path, line, kind):
    image(tmp_path / "images" / "a.png")
    path = write(tmp_path / "txt" / "a.txt", f"0 0.5 0.5 1 1\n{line}\n")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert len(found.images[0].objects) == 1
    assert found.problems.summary() == [f"1 x {kind}: {path} line 2"]


def test_a_damaged_image_or_text_is_counted(tmp_path):
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "c.png")
    (tmp_path / "images" / "b.png").write_bytes(b"nothing")
    write(tmp_path / "txt" / "a.txt", "0 0.5 0.5 1 1")
    (tmp_path / "txt" / "c.txt").write_bytes(b"0 0.5 0.5 \xff 1")
    write(tmp_path / "txt" / "b.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert len(found.images) == 1
    assert found.problems.counts == {
        "image is unreadable (neither JPEG, PNG, WebP, BMP nor TIFF), left out": 1,
        "unreadable text (not text in utf-8), its image left out": 1,
    }


@pytest.mark.parametrize("read", [read_voc, lambda labels, images: read_yolo(labels, images, ("ant",))])
def test_folders_without_labels_are_refused(tmp_path, read):
    with pytest.raises(ConfigError, match="not a folder of labels"):
        read(tmp_path / "nowhere", tmp_path)
    with pytest.raises(ConfigError, match=r"has no \.(xml|txt) files"):
        read(tmp_path, tmp_path)
    write(tmp_path / "labels" / "a.txt", "")
    write(tmp_path / "labels" / "a.xml", "<annotation/>")
    with pytest.raises(ConfigError, match=r"names no object|not a folder of images"):
        read(tmp_path / "labels", tmp_path / "nowhere")


def test_what_is_written_reads_back_without_findings(tmp_path):
    image(tmp_path / "images" / "a.png")
    image(tmp_path / "images" / "b.png")
    write(tmp_path / "txt" / "a.txt", "1 0.5 0.5 0.4 0.4\n0 0.25 0.5 0.1 0.2\n")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant", "cat"))
    write_coco(tmp_path / "out" / "train.json", found, found.images)
    result = read_coco(tmp_path / "out" / "train.json", tmp_path / "images")
    assert result.problems.summary() == []
    assert result.class_names == ("ant", "cat")
    assert [p.labels.tolist() for p in result.images] == [[1, 0], []]
    assert result.images[0].boxes.round(3).tolist() == [[30, 15, 70, 35], [20, 20, 30, 30]]
    raw = json.loads((tmp_path / "out" / "train.json").read_text())
    assert [a["id"] for a in raw["annotations"]] == [1, 2]
    assert raw["annotations"][0]["area"] == 800


def test_a_label_file_without_its_image_is_said_and_no_image_turns_into_background(tmp_path):
    for name in ("a", "frame_1", "frame_2"):
        image(tmp_path / "images" / f"{name}.png")
    write(tmp_path / "txt" / "a.txt", "0 0.5 0.5 1 1")
    for name in ("1", "2"):
        write(tmp_path / "txt" / f"{name}.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "txt" / "classes.txt", "ant\n")
    write(tmp_path / "txt" / "empty.txt", "")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert [one.name for one in found.images] == ["a.png"]
    assert found.problems.counts == {
        "label file without an image, left out": 2,
        "image without a label file while label files lack their images, left out": 2,
    }


def test_an_image_without_a_label_file_is_background_and_said(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / "images" / f"{name}.png")
    write(tmp_path / "txt" / "a.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert [len(one.objects) for one in found.images] == [1, 0]
    assert found.problems.summary() == [
        f"1 x image without a label file, taken to have no object: {tmp_path}/images/b.png"
    ]


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".JPG", ".webp"])
def test_images_of_every_kind_that_is_read_are_found(tmp_path, suffix):
    image(tmp_path / "images" / f"a{suffix}")
    write(tmp_path / "txt" / "a.txt", "0 0.5 0.5 1 1")
    assert read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",)).images[0].name == f"a{suffix}"


def test_an_image_of_another_kind_is_said(tmp_path):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "images" / "b.heic", "no matter")
    for name in ("a", "b"):
        write(tmp_path / "txt" / f"{name}.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert list(found.problems.counts) == [
        "image of a kind that is not read (.heic), left out",
        "label file without an image, left out",
    ]


def test_linked_folders_are_read_and_circles_are_not(tmp_path):
    image(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "day").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "images")
    write(tmp_path / "txt" / "day" / "a.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert [one.name for one in found.images if one.objects] == ["day/a.png"]


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("utf-8", "\r\n")])
def test_a_byte_order_mark_costs_no_object(tmp_path, encoding, newline):
    image(tmp_path / "images" / "a.png")
    text = write(tmp_path / "txt" / "a.txt", "")
    text.write_bytes(f"0 0.5 0.5 1 1{newline}1 0.5 0.5 0.2 0.2{newline}".encode(encoding))
    (one,) = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant", "cat")).images
    assert [name for name, _ in one.objects] == ["ant", "cat"]


def test_a_polygon_counts_as_the_box_around_it(tmp_path):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "txt" / "a.txt", "0 0.1 0.2 0.5 0.2 0.3 0.8\n")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    assert found.images[0].objects[0][1] == pytest.approx((10, 10, 40, 30))
    assert list(found.problems.counts) == ["polygon, taken as the box around it"]


@pytest.mark.parametrize("stated", ["long_ago.jpg", "a.jpg", "C:\\photos\\a.jpg", "/home/me/long_ago.jpg", ""])
def test_an_xml_belongs_to_the_image_of_its_own_name(tmp_path, stated):
    image(tmp_path / "images" / "a.png")
    write(tmp_path / "xml" / "a.xml", voc(stated, ("cat", (1, 1, 9, 9))))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert [one.name for one in found.images] == ["a.png"]
    other = {"XML that names another image, taken for that of its own name": 1}
    assert found.problems.counts == (other if "long_ago" in stated else {})


def test_an_xml_is_not_given_to_the_image_of_another_one(tmp_path):
    image(tmp_path / "images" / "b.png")
    write(tmp_path / "xml" / "a.xml", voc("b.png", ("cat", (1, 1, 9, 9))))
    write(tmp_path / "xml" / "b.xml", voc("b.png", ("ant", (1, 1, 9, 9))))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert found.class_names == ("ant",)
    assert list(found.problems.counts) == ["XML without an image of its name, that of another XML is named, left out"]


def test_a_voc_image_without_an_xml_is_left_out_and_said(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / "images" / f"{name}.png")
    write(tmp_path / "xml" / "a.xml", voc("a.png", ("cat", (1, 1, 9, 9))))
    found = read_voc(tmp_path / "xml", tmp_path / "images")
    assert found.problems.summary() == [f"1 x image without an XML, left out: {tmp_path}/images/b.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb2312", "iso-8859-1"])
def test_an_xml_is_read_in_the_encoding_that_it_names(tmp_path, encoding):
    name = "é" if encoding == "iso-8859-1" else "狗"
    image(tmp_path / "images" / "a.png")
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + voc("a.png", (name, (1, 1, 9, 9)))
    write(tmp_path / "xml" / "a.xml", "").write_bytes(text.encode(encoding))
    assert read_voc(tmp_path / "xml", tmp_path / "images").class_names == (name,)


def test_a_name_that_is_not_text_is_a_name(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "images").mkdir()
    data = io.BytesIO()
    Image.new("RGB", (100, 50)).save(data, "PNG")
    (tmp_path / "images" / f"{name}.png").write_bytes(data.getvalue())
    write(tmp_path / "txt" / f"{name}.txt", "0 0.5 0.5 1 1")
    found = read_yolo(tmp_path / "txt", tmp_path / "images", ("ant",))
    write_coco(tmp_path / "train.json", found, found.images)
    (read,) = read_coco(tmp_path / "train.json", tmp_path / "images").images
    assert read_image(read.path).shape == (50, 100, 3)


def test_ids_are_those_of_the_names_in_order():
    assert to_coco(Converted(("b", "a"), (), DataProblems()), [])["categories"] == [
        {"id": 1, "name": "b"},
        {"id": 2, "name": "a"},
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "ant\n\ncat \n"),
        ("data.yaml", "nc: 2\nnames: ['ant', \"cat\"]\n"),
        ("data.yaml", "train: x\nnames:\n- ant\n- cat\nnc: 2\n"),
        ("data.yml", "names:\n  0: ant\n  1: 'cat'\n"),
        ("data.yaml", "names:\n  1: cat\n  0: ant\n"),
        ("data.yaml", "names: {0: ant, 1: cat}\n"),
        ("data.yaml", "names:\n  - ant\n\n  - cat\n"),
        ("data.yaml", "names: ['ant', 'cat']  # two\n"),
        ("data.yaml", "names: &all\n  - ant\n  - cat\nothers: *all\n"),
        ("data.yaml", "\ufeffnames:\r\n- ant\r\n- cat\r\n"),
        ("classes.txt", "\ufeffant\r\ncat\r\n"),
    ],
)
def test_class_names_are_read_in_their_usual_forms(tmp_path, name, text):
    assert read_class_names(write(tmp_path / name, text)) == ("ant", "cat")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "\n", "has no classes; write one name a line"),
        ("classes.txt", "ant\nant\n", "has a class twice"),
        ("data.yaml", "nc: 2\n", "has no classes"),
        ("data.yaml", "names:\n  - ant\n  - [cat]\n", "has no classes"),
        ("data.yaml", "names: ant\n", "has no classes"),
        ("data.yaml", "names: [ant\n", "is not YAML"),
        ("data.yaml", "- names\n", "has no classes"),
        ("data.yaml", "names:\n  1: ant\n  2: cat\n", "has no classes"),
    ],
)
def test_other_lists_of_classes_are_refused(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message):
        read_class_names(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: ['bus', 'person, standing', \"men's\"]", ("bus", "person, standing", "men's")),
        ("names: [no, 1, 2.50, null, 0x1f]", ("no", "1", "2.50", "null", "0x1f")),
    ],
)
def test_a_class_is_called_as_it_is_written(tmp_path, text, names):
    assert read_class_names(write(tmp_path / "data.yaml", text)) == names


def test_class_names_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_class_names(tmp_path / "nowhere.txt")
    with pytest.raises(ConfigError, match="over 1000000 bytes"):
        read_class_names(write(tmp_path / "big.txt", "x" * 1_000_001))
