"""What files, folders and patterns stand for; nothing is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poise.errors import Refused
from poise.image_files import check_image_files, image_files


def made(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(spec: str | Path) -> list[tuple[str, str]]:
    return [(file.name, str(file.place)) for file in image_files(spec)]


def test_a_folder_is_all_images_below_it_in_the_order_of_their_names(tmp_path: Path) -> None:
    made(
        tmp_path, "b.png", "a/z.JPG", "a/y.b.webp", "a.b/x.gif", "c/d/e/f.tif", "a/notes.txt", ".hidden.png", ".h/a.png"
    )
    assert found(tmp_path) == [
        (f"{tmp_path}/{name}", place)
        for name, place in (
            ("a/y.b.webp", "a/y.b"), ("a/z.JPG", "a/z"), ("a.b/x.gif", "a.b/x"), ("b.png", "b"),
            ("c/d/e/f.tif", "c/d/e/f"),
        )
    ]  # fmt: skip


def test_a_file_is_itself_whatever_its_ending(tmp_path: Path) -> None:
    made(tmp_path, "a.txt", "b[1].png", "b1.png")
    assert found(tmp_path / "a.txt") == [(f"{tmp_path}/a.txt", "a")]
    assert found(tmp_path / "b[1].png") == [(f"{tmp_path}/b[1].png", "b[1]")], "what is there is no pattern"


def test_patterns_and_what_they_match(tmp_path: Path) -> None:
    made(tmp_path, "b1.png", "b2.png", "c.png", "sub/b3.png", "sub/deep/b4.png")
    assert [place for _, place in found(f"{tmp_path}/b*.png")] == ["b1", "b2"]
    assert [place for _, place in found(f"{tmp_path}/**/b*.png")] == ["b1", "b2", "b3", "b4"]
    assert [place for _, place in found(f"{tmp_path}/su?")] == ["b3", "deep/b4"], (
        "a folder that is matched is gone through"
    )


def test_what_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "empty/notes.txt", "a.png")
    check_image_files([tmp_path, tmp_path / "a.png", f"{tmp_path}/*.png"])
    for spec, reason in (
        (tmp_path / "empty", r"holds no image files \(\.bmp, "),
        (f"{tmp_path}/*.jpg", r"no file matches .*\*\.jpg"),
        (tmp_path / "b.png", r"^no such file or folder: .*b\.png$"),
        ("x" * 5000, "no such file or folder"),
        ("a\0b", "no such file or folder"),
    ):
        with pytest.raises(Refused, match=reason):
            check_image_files([tmp_path / "a.png", spec])


def test_links_out_and_pipes_are_in_trouble_and_linked_folders_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "in/a.png", "out/secret.png")
    (tmp_path / "in/b.png").symlink_to(tmp_path / "out/secret.png")
    (tmp_path / "in/c.png").symlink_to(tmp_path / "in/a.png")
    (tmp_path / "in/d").symlink_to(tmp_path / "out")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    os.mkfifo(tmp_path / "in/e.png")
    troubles = {file.path.name: file.trouble for file in image_files(tmp_path / "in")}
    assert troubles == {
        "a.png": "", "b.png": f"it is a link out of {tmp_path / 'in'}", "c.png": "",
        "e.png": "it is not a regular file",
    }  # fmt: skip
    (link,) = image_files(tmp_path / "in/b.png")
    assert link.trouble == "", "a link that a person names is meant"
