from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from rsam_app.config.taxonomy import Taxonomy
from rsam_app.data.records import Dataset, Record
from rsam_app.run.corrections import (
    Correction,
    add_corrections,
    apply_corrections,
    class_names_in_force,
    corrections_path,
    earlier_labels,
    first_labels,
    in_force,
    last_addition,
    read_corrections,
    reversals,
)
from rsam_app.run.trained_on import as_model_knows
from rsam_app.system.errors import UserError

HEADER = "id,kind,before,after,who,when,run\n"
RECTANGLE = "[10.5, 20.0, 30.0, 5.0, -0.25]"


def decided(id: str = "a", kind: str = "label", before: str = "auk", after: str = "wren", **keys) -> Correction:
    return Correction(id, kind, before, after, **{"who": "Ann", "when": "2025-01-01T00:00:00Z", "run": "r", **keys})  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "corrections" / "birds.v1.csv"


@pytest.fixture
def birds() -> Dataset:
    splits = {"a": "train", "b": "val", "t": "test"}
    records = tuple(Record(i, Path(i), "auk", s, 40, 30) for i, s in splits.items())
    return Dataset("birds", records, ("auk", "wren"), "ours")


def test_runs_beside_each_other_share_one_table(tmp_path) -> None:
    assert corrections_path(tmp_path / "runs" / "a", "birds") == corrections_path(tmp_path / "runs" / "b", "birds")
    assert corrections_path(tmp_path / "runs" / "a", "birds") == tmp_path / "runs" / "corrections" / "birds.csv"


def test_additions_are_read_back_in_order_whatever_the_text(table) -> None:
    added = [
        decided("Bilder/ä, \"b\" 'c'.jpg", after="Grünfink, jung"),
        decided("two\nlines\r.jpg", after=" wren\r"),
        decided("b", "rectangle", "", RECTANGLE),
        decided("c", "exclude", "false", "true"),
    ]
    assert read_corrections(table) == []
    assert add_corrections(table, added) == added
    assert read_corrections(table) == added
    assert [p.name for p in table.parent.iterdir() if not p.name.startswith(".")] == [table.name]


def test_no_text_is_a_formula_in_a_spreadsheet_and_all_are_read_back(table) -> None:
    texts = ["=1+1", "+a", "-b", "@c", "'=d", "''-e", "'f", "-0.5"]
    decisions = [decided(id=text, before="auk", after=f"{text}!", who=text, run=text) for text in texts]
    add_corrections(table, decisions)
    assert read_corrections(table) == decisions
    written = table.read_text(encoding="utf-8")
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in written.splitlines() for cell in line.split(","))
    add_corrections(table, [decided(id="b")])
    assert read_corrections(table) == [*decisions, decided(id="b")]


def test_a_decision_in_force_is_not_added_again_and_history_is_kept(table) -> None:
    first = decided()
    assert add_corrections(table, [first, first]) == [first]
    assert add_corrections(table, [replace(first, when="2026-01-01T00:00:00Z")]) == []
    back = decided(before="wren", after="auk")
    assert add_corrections(table, [back]) == [back]
    assert add_corrections(table, [first]) == [first]
    assert [c.after for c in read_corrections(table)] == ["wren", "auk", "wren"]


def test_a_decision_that_changes_nothing_is_not_added(table) -> None:
    assert add_corrections(table, [decided(before="auk", after="auk")]) == []
    assert not table.exists()


def test_the_last_decision_of_a_kind_is_in_force() -> None:
    force = in_force([decided(after="wren"), decided(kind="exclude", after="true"), decided(after="auk")])
    assert {kind: c.after for (_, kind), c in force.items()} == {"label": "auk", "exclude": "true"}


def test_corrections_change_train_and_val_and_never_test(birds) -> None:
    corrected, targets, _ = apply_corrections(
        birds,
        [
            decided("a"),
            decided("b", "rectangle", "", RECTANGLE),
            decided("t"),
            decided("t", "exclude", "false", "true"),
            decided("t", "rectangle", "", RECTANGLE),
        ],
    )
    assert {r.id: r.label for r in corrected.records} == {"a": "wren", "b": "auk", "t": "auk"}
    assert targets == {"b": (10.5, 20.0, 30.0, 5.0, -0.25)}
    assert corrected.fingerprint != birds.fingerprint
    assert "3 corrections of test images" in corrected.notes[0]


def test_an_excluded_record_is_gone_until_the_exclusion_is_reverted(birds) -> None:
    out = decided("a", "exclude", "false", "true")
    assert [r.id for r in apply_corrections(birds, [out])[0].records] == ["b", "t"]
    back = decided("a", "exclude", "true", "false")
    assert apply_corrections(birds, [out, back])[0] == birds


def test_a_rectangle_can_be_reverted(birds) -> None:
    drawn, erased = decided("a", "rectangle", "", RECTANGLE), decided("a", "rectangle", RECTANGLE, "")
    assert apply_corrections(birds, [drawn, erased])[1] == {}


def test_corrections_of_missing_records_are_reported(birds) -> None:
    corrected, *_ = apply_corrections(birds, [decided("gone.jpg")])
    assert corrected.records == birds.records
    assert "1 records" in corrected.notes[0]
    assert "gone.jpg" in corrected.notes[0]


def test_a_label_that_was_taken_away_is_named(birds) -> None:
    with pytest.raises(UserError, match="record a has lost its label 'auk'"):
        apply_corrections(birds, [decided(after="")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,kind\n", "header is 'id,kind'"),
        ("", "header is ''"),
        (HEADER + "a,lable,auk,wren,Ann,now,r\n", "line 2"),
        (HEADER + "a,label,auk\n", "line 2"),
        (HEADER + "a,label,auk,wren,Ann,now,r,more\n", "line 2"),
        (HEADER + "a,label,auk,wren,Ann,now,r\na,exclude,,yes,Ann,now,r\n", "line 3: exclude is 'yes'"),
        (HEADER + 'a,rectangle,,"[1, 2, 3]",Ann,now,r\n', "not a rectangle"),
        (HEADER + 'a,rectangle,,"[1, 2, NaN, 4, 0]",Ann,now,r\n', "not a rectangle"),
        (HEADER + 'a,rectangle,,"[1, 2, 0, 4, 0]",Ann,now,r\n', "not a rectangle"),
        (HEADER + 'a,rectangle,,"""12345""",Ann,now,r\n', "not a rectangle"),
        (HEADER + "a,rectangle,,{},Ann,now,r\n", "not a rectangle"),
        (HEADER + 'a,"label,auk,wren,Ann,now,r\n', "cannot be read as CSV"),
        (HEADER.encode() + b"\xff,label,auk,wren,Ann,now,r\n", "UTF-8"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_lost(table, text, expected) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    table.parent.mkdir()
    table.write_bytes(content)
    for use in (lambda: read_corrections(table), lambda: add_corrections(table, [decided()])):
        with pytest.raises(UserError, match=expected) as caught:
            use()
        assert str(table) in str(caught.value)
    assert table.read_bytes() == content


def test_a_table_that_a_spreadsheet_saved_is_read(table) -> None:
    table.parent.mkdir()
    table.write_bytes(("\ufeff" + HEADER + "ä,label,auk,wren,Ann,now,r\n").replace("\n", "\r\n").encode())
    assert [c.id for c in read_corrections(table)] == ["ä"]


def add_many(path: Path, who: str) -> None:
    for n in range(25):
        add_corrections(path, [decided(f"{who}{n}", who=who)])


def test_two_people_at_once_lose_nothing(table) -> None:
    people = [multiprocessing.get_context("fork").Process(target=add_many, args=(table, who)) for who in ("Ann", "Bo")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(read_corrections(table)) == 50


def test_the_last_addition_is_found_and_undone_ones_are_skipped() -> None:
    first = [decided("a"), decided("b", "exclude", "false", "true")]
    second = [decided("a", before="auk", after="tern", when="2025-01-02T00:00:00Z")]
    undo_second = [decided("a", before="tern", after="wren", when="2025-01-03T00:00:00Z")]
    undo_first = [replace(c, before=c.after, after=c.before, when="2025-01-04T00:00:00Z") for c in first]
    assert last_addition([]) == []
    assert last_addition(first) == first
    assert last_addition([*first, *second]) == second
    assert last_addition([*first, *second, *undo_second]) == first
    assert last_addition([*first, *second, *undo_second, *undo_first]) == []
    again = [replace(c, when="2025-01-05T00:00:00Z") for c in first]
    assert last_addition([*first, *second, *undo_second, *undo_first, *again]) == again


def test_reversals_restore_what_was_in_force_or_the_datasets_own_value() -> None:
    (row,) = reversals([decided("a", before="auk", after="tern")], {})
    assert (row.before, row.after) == ("tern", "auk")
    (row,) = reversals([decided("a", before="auk", after="tern")], {("a", "label"): decided("a", after="wren")})
    assert (row.before, row.after) == ("tern", "wren")


def test_a_class_without_a_training_image_left_is_dropped_and_a_new_one_comes_last() -> None:
    names = ("auk", "tern", "wren")
    records = [Record(f"{c}{n}", Path(), c, s) for c in names for n, s in enumerate(("train", "train", "test"))]
    dataset = Dataset("birds", tuple(records), names, "ours")
    emptying = [decided(f"tern{n}", "exclude", "false", "true") for n in range(2)]
    corrected = apply_corrections(dataset, [decided("wren0", before="wren", after="merlin"), *emptying]).dataset
    assert corrected.classes == ("auk", "wren", "merlin"), "the old ones keep their order"
    assert [r.id for r in corrected.split("test")] == ["auk2", "wren2"]
    assert corrected.notes == (
        "new classes by the corrections (1): merlin",
        "classes without a training image left after the corrections (1) are left out,"
        " with 1 images of other splits: tern",
    )
    undone = [decided("wren0", before="wren", after="merlin"), decided("wren0", before="merlin", after="wren")]
    assert apply_corrections(dataset, undone).dataset.classes == names


def test_a_new_class_of_held_out_images_only_is_left_out_with_a_line() -> None:
    names = ("auk", "wren")
    records = [Record(f"{c}{s}", Path(), c, s) for c in names for s in ("train", "val", "test")]
    dataset = Dataset("birds", tuple(records), names, "ours")
    rows = [decided(f"wren{s}", before="wren", after="merlin") for s in ("val", "test")]
    corrected = apply_corrections(dataset, rows).dataset
    assert corrected.classes == names and "wrenval" not in [r.id for r in corrected.records]
    assert corrected.notes == (
        "1 corrections of test images are not applied: the test split stays unchanged",
        "new classes without a training image (1) are left out, with 1 images of other splits: merlin",
    )
    emptying = apply_corrections(dataset, [decided("wrentrain", before="wren", after="auk")]).dataset
    assert (emptying.classes, len(emptying.records)) == (names, 6)
    assert emptying.notes == ("classes without a training image left, kept because a model needs two (1): wren",)


def test_renamed_and_merged_classes_keep_their_place_in_every_split() -> None:
    names = ("auk", "tern", "wren")
    records = [Record(f"{c}{s}", Path(), c, s) for c in names for s in ("train", "val", "test")]
    taxonomy = Taxonomy(("species", "order"), (names, ("sea", "sea", "song")))
    dataset = Dataset("birds", tuple(records), names, "ours", taxonomy=taxonomy)
    renamed = decided("auk", "class", "auk", "alcid")
    merged = [decided("wren", "class", "wren", "tern"), decided("ternval", before="tern", after="wren")]
    relabelled = decided("wrenval", before="wren", after="auk")
    corrected = apply_corrections(dataset, [relabelled, renamed]).dataset
    assert corrected.classes == ("alcid", "tern", "wren") and corrected.notes == ()
    assert {r.id: r.label for r in corrected.records if r.label == "alcid"}.keys() == {
        *("auktrain", "aukval", "auktest", "wrenval")
    }
    assert corrected.taxonomy == Taxonomy(taxonomy.levels, (("alcid", "tern", "wren"), ("sea", "sea", "song")))
    corrected = apply_corrections(dataset, [renamed, *merged]).dataset
    assert corrected.classes == ("alcid", "tern") and corrected.split("test")[2].label == "tern"
    back = [decided("auk", "class", "alcid", "auk"), decided("wren", "class", "tern", "wren")]
    assert apply_corrections(dataset, [renamed, *merged[:1], *back])[0] == dataset
    assert class_names_in_force([renamed, *merged, *back]) == {}


def test_a_model_that_knows_the_earlier_classes_is_measured_on_them() -> None:
    names = ("auk", "tern", "wren")
    taxonomy = Taxonomy(("species", "order"), (names, ("sea", "sea", "song")))
    records = tuple(Record(f"{c}{s}", Path(), c, s) for c in names for s in ("train", "test"))
    dataset = Dataset("birds", records, names, "ours", taxonomy=taxonomy)
    rows = [decided("auk", "class", "auk", "alcid"), decided("wren", "class", "wren", "tern")]
    rows.append(decided("terntrain", before="tern", after="wren"))
    corrected, earlier = apply_corrections(dataset, rows).dataset, earlier_labels(dataset, rows)
    assert earlier == {
        "auktrain": "auk",
        "auktest": "auk",
        "terntrain": "wren",
        "wrentrain": "wren",
        "wrentest": "wren",
    }
    known, line = as_model_knows(corrected, names, taxonomy, earlier)
    assert (line, known.classes, known.taxonomy) == ("", names, taxonomy)
    assert [r.label for r in known.records] == ["auk", "auk", "wren", "tern", "wren", "wren"]
    assert as_model_knows(corrected, ("alcid", "tern"), taxonomy, earlier) == (corrected, "")


def test_a_label_of_a_merged_class_is_not_a_new_decision(tmp_path: Path) -> None:
    table, when = tmp_path / "birds.csv", "2025-01-02T00:00:00Z"
    given, merged = decided("a", before="auk", after="wren"), decided("wren", "class", "wren", "tern")
    assert add_corrections(table, [given]) == [given]
    again = replace(given, after="tern", when=when)
    assert add_corrections(table, [merged, again]) == [merged]
    assert add_corrections(table, [replace(again, after="auk")]) == [replace(again, after="auk")]
    with table.open("a") as stream:
        stream.write(",class,wren,tern,,,\r\n")
    with pytest.raises(UserError, match="line 5: a class has no name"):
        read_corrections(table)


def test_the_taxonomy_follows_the_classes() -> None:
    """A new class is a node of its own on every level, or below that of its name; a dropped one keeps its place for a
    model that knows it."""
    names = ("auk", "tern", "wren")
    records = tuple(Record(f"{c}{n}", Path(), c, "train") for c in names for n in range(2))
    taxonomy = Taxonomy(("species", "family", "order"), (names, ("A", "L", "T"), ("sea", "sea", "song")))
    dataset = Dataset("birds", records, names, "ours", taxonomy=taxonomy)
    rows = [decided("wren0", before="wren", after="merlin")]
    rows += [decided(f"tern{n}", before="tern", after="auk") for n in range(2)]
    corrected = apply_corrections(dataset, rows).dataset
    assert corrected.taxonomy == Taxonomy(
        taxonomy.levels, (("auk", "wren", "merlin"), ("A", "T", "merlin"), ("sea", "song", "merlin"))
    )
    assert as_model_knows(corrected, names, dataset.taxonomy)[0].taxonomy == taxonomy
    assert taxonomy.of_classes(["song", "auk"]).nodes == (("song", "auk"), ("song", "A"), ("song", "sea"))
    assert taxonomy.of_classes(["L"]).nodes == (("L",), ("L",), ("sea",))


def test_a_dataset_labelled_from_nothing_gets_its_labels_from_the_table() -> None:
    rows = [
        decided("a", before="", after="wren"),
        decided("b", before="", after="auk"),
        decided("a", before="wren", after="tern"),
        decided("c", before="", after="wren"),
        decided("c", before="wren", after=""),
        decided("d", before="auk", after="wren"),
    ]
    assert list(first_labels(rows).items()) == [("b", "auk"), ("a", "tern")]


def test_a_run_is_measured_with_the_classes_of_its_own_model() -> None:
    records = [Record(c, Path(), c, "train") for c in ("auk", "wren", "merlin")]
    dataset = Dataset("birds", tuple(records), ("auk", "wren", "merlin"), "ours")
    known, line = as_model_knows(dataset, ("auk", "tern", "wren"))
    assert known.classes == ("auk", "tern", "wren")
    assert [(r.id, r.label, r.split) for r in known.split("unlabelled")] == [("merlin", "", "unlabelled")]
    assert line == "1 images of classes that this run's model does not know are not measured: merlin"
    assert as_model_knows(dataset, ()) == (dataset, "")
