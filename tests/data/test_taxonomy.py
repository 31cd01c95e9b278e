"""A card's taxonomy: read in the order of the classes, found beside the card, and checked line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rsam_app.config import Taxonomy, load_card
from rsam_app.data import load_dataset
from rsam_app.data.taxonomy import read_taxonomy
from rsam_app.system.errors import UserError

BIRDS = ("finch", "wren", "auk")
GOOD = (
    "class,genus,family\nauk,Alca,Alcidae\nfinch,Fringilla,Fringillidae\nraven,Corvus,Corvidae\n"
    "wren,Troglodytes,Troglodytidae\n"
)


@pytest.fixture
def read(tmp_path, card_for):
    def write(text: str | bytes) -> Taxonomy | None:
        path = tmp_path / "birds.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_taxonomy(card_for("folder", tmp_path, taxonomy=str(path)), BIRDS)

    return write


def test_nodes_are_in_the_order_of_the_classes(read) -> None:
    taxonomy = read(GOOD)
    assert taxonomy.levels == ("class", "genus", "family")
    assert taxonomy.classes == BIRDS
    assert taxonomy.nodes[1:] == (
        ("Fringilla", "Troglodytes", "Alca"),
        ("Fringillidae", "Troglodytidae", "Alcidae"),
    )
    assert str(taxonomy) == "class: 3, genus: 3, family: 3"
    assert Taxonomy.of(BIRDS, taxonomy.above_classes()) == taxonomy


def test_a_card_without_one_has_none(tmp_path, card_for) -> None:
    assert read_taxonomy(card_for("folder", tmp_path), BIRDS) is None


def test_a_name_may_stand_at_two_levels(read) -> None:
    assert read("Class,genus\nauk,wren\nwren,wren\nfinch,finch\n").nodes[1] == ("finch", "wren", "wren")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["header", "does not begin with `class`"]),
        ("species,genus\n", ["'species,genus'", "does not begin with `class`"]),
        ("class;genus\nauk;Alca\n", ["does not begin with `class`"]),
        ("class\nauk\n", ["no level above `class`"]),
        ("class,genus,\nauk,Alca,\n", ["a level without a name"]),
        ("class,genus,genus\n", ["repeats genus"]),
        ("class,class\n", ["repeats class"]),
        (GOOD.replace("wren,", "wern,"), ["no row for the class 'wren'", "'wern'", "`wren,…`"]),
        ("class,genus\nauk,Alca\n", ["'finch'", "2 such classes: finch, wren"]),
        (GOOD + "auk,Alca,Alcidae\n", ["lines 2 and 6", "'auk' twice"]),
        (GOOD.replace("Alca,", ","), ["line 2", "'auk' has no genus"]),
        (GOOD + ",Pica,Corvidae\n", ["line 6", "the class '' has no class"]),
        (GOOD + "crow,Corvus,Alcidae\n", ["lines 4 and 6", "genus 'Corvus'", "family 'Corvidae' and 'Alcidae'"]),
        (GOOD + "crow,Corvus\n", ["line 6", "2 cells", "the header has 3"]),
        (GOOD.replace("auk", "ü").encode("latin-1"), ["not UTF-8"]),
        (GOOD.replace("auk", '"auk'), ["unclosed quote"]),
    ],
)
def test_a_wrong_line_is_named(read, text, expected) -> None:
    with pytest.raises(UserError) as caught:
        read(text)
    message = str(caught.value)
    assert "birds.csv" in message
    assert all(part in message for part in expected), message
    assert message.count("\n") <= 1


def test_a_missing_file_is_named(tmp_path, card_for) -> None:
    with pytest.raises(UserError, match=r"card tiny: taxonomy: there is no file .*gone\.csv"):
        read_taxonomy(card_for("folder", tmp_path, taxonomy="gone.csv"), BIRDS)


def test_the_file_is_in_the_data_folder_or_beside_the_card(tmp_path: Path, monkeypatch, class_folders) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("RSAM_DATA", str(tmp_path / "data"))
    card = tmp_path / "cards" / "birds.yaml"
    card.parent.mkdir()
    content = {"name": "birds", "layout": "folder", "root": str(class_folders), "taxonomy": "birds.csv"}
    card.write_text(yaml.safe_dump(content), encoding="utf-8")
    plain = load_dataset(load_card(card).model_copy(update={"taxonomy": ""}))
    for folder, order in ((card.parent, "beside"), (tmp_path / "data", "data")):  # that of the data comes first
        (folder / "birds.csv").write_text(f"class,{order}\nwren,songbird\nfinch,songbird\n", encoding="utf-8")
        dataset = load_dataset(load_card(card))
        assert dataset.taxonomy is not None
        assert dataset.taxonomy.levels == ("class", order)
        assert dataset.taxonomy.nodes == (("finch", "wren"), ("songbird", "songbird"))
        assert dataset.fingerprint == plain.fingerprint  # a training does not depend on it
