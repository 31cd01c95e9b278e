from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.config import REPOSITORY, ModelConfig, Pipeline, load_card, load_pipeline, read_pipeline
from rsam_app.system.errors import UserError

CARD = "name: birds\nlayout: folder\nroot: birds\nlicence: CC0\n"


LAUGHS = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 5)}]\n" for i in range(1, 21))
"""A document of 5²⁰ values by aliases, in a kilobyte."""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "datasets" / "birds.yaml"
    path.parent.mkdir()
    path.write_text(CARD)
    return path


@pytest.fixture
def pipeline(card: Path) -> Path:
    path = card.parent.parent / "pipelines" / "first.yaml"
    path.parent.mkdir()
    path.write_text("dataset: birds\n")
    return path


def refused(load, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        load(*arguments)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2
    assert all(len(line) < 500 for line in message.splitlines())
    return message


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("datasets/*.yaml")), ids=lambda p: p.stem)
def test_every_card_is_valid_and_names_its_source(path) -> None:
    assert load_card(path).name == path.stem
    header = path.read_text(encoding="utf-8").split("\nname:")[0]
    assert all(word in header for word in ("Source:", "Licence:", "Counts:"))


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("pipelines/*.yaml")), ids=lambda p: p.stem)
def test_every_pipeline_is_valid_and_so_is_its_card(path) -> None:
    card = load_card(load_pipeline(path).dataset)
    assert (REPOSITORY / "datasets" / f"{card.name}.yaml").exists()


def test_timm_weights_come_from_the_weights_folder_if_it_has_them(tmp_path, monkeypatch) -> None:
    config = ModelConfig(backbone="resnet10t.c3_in1k", weights="timm")
    monkeypatch.delenv("RSAM_WEIGHTS", raising=False)
    assert config.weights_file is None
    monkeypatch.setenv("RSAM_WEIGHTS", str(tmp_path))
    assert config.weights_file is None
    (tmp_path / "resnet10t.safetensors").touch()
    assert config.weights_file == tmp_path / "resnet10t.safetensors"
    assert ModelConfig(backbone="resnet10t", weights="none").weights_file is None
    assert ModelConfig(backbone="resnet10t", weights="x.pth").weights_file == Path("x.pth")


def test_a_pipeline_is_named_after_its_file_and_finds_the_card_beside_it(pipeline, card, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path / "datasets")
    loaded = load_pipeline(pipeline)
    assert (loaded.name, loaded.dataset) == ("first", str(card))
    assert load_card(loaded.dataset).name == "birds"


def test_names_are_looked_up_where_one_stands(pipeline, card, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_pipeline("first").name == "first"
    assert load_card("birds").root == "birds"


def test_overrides_reach_any_key_and_keep_the_rest(pipeline) -> None:
    loaded = load_pipeline(
        pipeline,
        [
            "train.epochs=3",
            "train.learning_rate=3e-4",
            "model.backbone_args.drop_rate=0.2",
            "review.key=null",
            "seed=7",
        ],
    )
    assert (loaded.train.epochs, loaded.train.learning_rate, loaded.seed) == (3, 3e-4, 7)
    assert loaded.model.backbone_args == {"drop_rate": 0.2}
    assert loaded.train.batch_size == Pipeline(name="x", dataset="y").train.batch_size


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs", ["train.epochs", "key.sub=value"]),
        ("=3", ["key.sub=value"]),
        ("train.epoch=3", ["train.epoch: unknown key", "'epochs'"]),
        ("trian.epochs=3", ["trian: unknown key", "'train'"]),
        ("dataset.name=x", ["dataset is a value"]),
        ("train.epochs=0", ["train.epochs: 0 is not valid", "greater than or equal to 1"]),
        ("train.epochs=many", ["train.epochs: 'many' is not valid"]),
        ("train.epochs=[1", ["'[1' is not a YAML value"]),
        ("seed=2024-13-45", ["'2024-13-45' is not a YAML value"]),
        ("seed=&a [*a]", ["is not a YAML value"]),
        ("seed=" + "[" * 60 + "]" * 60, ["is not a YAML value"]),
        ("train=3", ["train: 3 is not valid"]),
        ("dataset=brids", ["--set dataset=brids: dataset: brids", "'birds'"]),
    ],
)
def test_a_wrong_override_is_named(pipeline, override, expected) -> None:
    message = refused(load_pipeline, pipeline, [override])
    assert all(part in message for part in expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dataset: birds\nmodel: {backbon: x}\n", ["model.backbon: unknown key", "'backbone'"]),
        ("dataset: birds\nmodel: {attention: rsma}\n", ["model.attention: 'rsma'", "Did you mean 'rsam'?"]),
        ("dataset: birds\ntrain: {freeze_batch_norm: sometimes}\n", ["train.freeze_batch_norm: 'sometimes'", "'auto'"]),
        ("dataset: birds\ntrain: {workers: -1}\n", ["train.workers: -1 is not valid", "must not be negative"]),
        ("dataset: birds\ntrain: {augment: {flip: sideways}}\n", ["train.augment.flip: 'sideways'", "boolean"]),
        ("dataset: birds\ntrain: {augment: {extra: [GaussianBlur]}}\n", ["train.augment.extra.0: 'GaussianBlur'"]),
        ("dataset: birds\nmodel:\n", ["model: None is not valid"]),
        ("model: {}\n", ["dataset: missing", "`dataset: …`"]),
        ("dataset: birds\nname: a/b\n", ["name: 'a/b'"]),
        ("dataset: birds\n1: x\n", ["1: "]),
        ("dataset: birds\nseed: -1\nmodel: {a: 1, b: 2}\n", ["seed: -1", "2 more keys"]),
        ("dataset: birds\nseed: 1\nseed: 2\n", ["duplicate key 'seed'"]),
        ("dataset: birds\ntrain: {epochs: 1}\ntrain: {batch_size: 2}\n", ["duplicate key 'train'"]),
        ("dataset: [birds\n", ["is not YAML", "line 2"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["is not YAML"]),
        ("a: " + "[" * 5000, ["is not YAML"]),
        ("dataset: birds\n" + "".join(f"key{i}: 1\n" for i in range(4_000)), ["key0: unknown key", "3999 more keys"]),
        ("".join(f"key{i}: 1\n" for i in range(20_000)), ["more than 10,000 keys and values", "line 5000"]),
        ("a: [" + "1," * 300_000 + "]", ["more than 10,000 keys and values"]),
        (LAUGHS + "dataset: *a20\n", ["more than 10,000 keys and values"]),
        (LAUGHS + "<<: [*a20]\n", ["more than 10,000 keys and values"]),
        ("a: &a [*a]\n", ["more than 10,000 keys and values"]),
        ("a: " + "#" * 2**20, ["is larger than 1 MiB"]),
        ("seed: 2024-13-45\n", ["is not YAML", "month"]),
        ("dataset: birds\nmodel: " + "x" * 10_000, ["model: 'x"]),
        ("- a\n", ["`key: value`"]),
        ("", ["`key: value`"]),
        ("dataset: \x00\n", ["is not YAML"]),
        (b"dataset: \xff\n", ["cannot be read"]),
    ],
)
def test_a_wrong_pipeline_is_explained_in_one_or_two_lines(pipeline, text, expected) -> None:
    pipeline.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused(load_pipeline, pipeline)
    assert str(pipeline) in message
    assert all(part in message for part in expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CARD.replace("folder", "folders"), ["layout: 'folders'", "Did you mean 'folder'?"]),
        (CARD.replace("layout", "lay_out"), ["lay_out: unknown key", "'layout'"]),
        (CARD.replace("name: birds", "name: my birds"), ["name: 'my birds'"]),
        (CARD + "splits: {trian: a}\n", ["splits.trian", "Did you mean 'train'?"]),
        (CARD + "splits: {val: a}\n", ["splits: {'val': 'a'}", "which split to train on"]),
        (CARD + "splits: {train: a, test: a}\n", ["splits: ", "twice"]),
        (CARD + "splits: {train: 3}\n", ["splits.train: 3"]),
        (CARD + "max_broken_share: 2\n", ["max_broken_share: 2"]),
        (CARD + "license: MIT\n", ["license: unknown key", "'licence'"]),
        (CARD.replace("licence: CC0", "license: [CC0]"), ["license: ['CC0'] is not valid"]),
    ],
)
def test_a_wrong_card_is_explained_in_one_or_two_lines(card, text, expected) -> None:
    card.write_text(text)
    message = refused(load_card, card)
    assert str(card) in message
    assert all(part in message for part in expected)


@pytest.mark.parametrize(("line", "licence"), [("licence: CC0", "CC0"), ("license: MIT", "MIT"), ("", "not stated")])
def test_the_licence_has_two_spellings_and_may_be_missing(card, line, licence) -> None:
    card.write_text(CARD.replace("licence: CC0", line))
    assert load_card(card).licence == licence


def test_merged_keys_are_not_repeated_keys(pipeline) -> None:
    pipeline.write_text("dataset: birds\ntrain: {<<: {epochs: 2, batch_size: 4}, epochs: 3}\n")
    loaded = load_pipeline(pipeline)
    assert (loaded.train.epochs, loaded.train.batch_size) == (3, 4)


def test_a_missing_file_suggests_the_nearest(pipeline, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Did you mean 'first'?" in refused(load_pipeline, "frist")
    assert "Did you mean 'birds'?" in refused(load_card, "bird")
    assert "no such file" in refused(load_pipeline, "nowhere/at/all.yaml")
    assert "no such file" in refused(load_pipeline, str(tmp_path))


def test_a_root_starts_from_the_data_folder_unless_it_is_absolute(card, monkeypatch) -> None:
    monkeypatch.setenv("RSAM_DATA", "/somewhere")
    assert load_card(card).root_path == Path("/somewhere/birds")
    for unset in ("", None):
        monkeypatch.setenv("RSAM_DATA", unset) if unset is not None else monkeypatch.delenv("RSAM_DATA")
        assert load_card(card).root_path == Path("data/birds")
    card.write_text(CARD.replace("root: birds", "root: /else/where"))
    assert load_card(card).root_path == Path("/else/where")


def test_a_written_pipeline_reads_back_equal(pipeline, tmp_path) -> None:
    import yaml

    loaded = load_pipeline(pipeline, ["train.augment.extra=[{GaussianBlur: {p: 0.2}}]"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(loaded.model_dump(mode="json")))
    assert read_pipeline(tmp_path / "config.yaml") == loaded


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{url: 'ftp://birds.example/a.tgz'}", "download.0.url"),
        ("{file: a.tgz}", "needs `url`, or `page`"),
        ("{url: 'https://birds.example/'}", "needs `file`"),
        ("{url: 'https://birds.example/a.tgz', file: '../a.tgz'}", "download.0.file"),
        ("{url: 'https://birds.example/a.tgz', file: '..'}", "needs `file`"),
        ("{url: 'https://birds.example/a.tgz', take: ../up}", "download.0.take"),
        ("{url: 'https://birds.example/a.tgz', md5: 12}", "download.0.md5"),
        ("{url: 'https://birds.example/a.tgz', sha1: ab}", "unknown key"),
    ],
)
def test_a_download_that_cannot_be_meant_is_named(card, entry, expected) -> None:
    card.write_text(f"{CARD}download:\n  - {entry}\n")
    assert expected in refused(load_card, card)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model.backbone_args={checkpoint_path: /data/a.pth}",
            ["model.backbone_args", "give the file as model.weights"],
        ),
        ("model.backbone_args={features_only: true}", ["model.backbone_args", "features_only", "remove it"]),
        ("model.backbone_args={global_pool: ''}", ["model.backbone_args", "global_pool", "avg or max"]),
        ("model.backbone_args={num_classes: 7}", ["model.backbone_args", "num_classes", "remove it"]),
        ("model.backbone_args={pretrained_cfg_overlay: {url: x}}", ["pretrained_cfg_overlay: url", "model.weights"]),
        ("seed=4294967296", ["seed", "less than 4294967296"]),
    ],
)
def test_settings_that_no_network_or_generator_takes_are_refused_by_key(pipeline, override, said) -> None:
    message = refused(load_pipeline, pipeline, [override])
    assert all(part in message for part in said)


def test_ordinary_backbone_arguments_pass(pipeline) -> None:
    loaded = load_pipeline(pipeline, ["model.backbone_args={drop_rate: 0.2, global_pool: max}", "seed=4294967295"])
    assert loaded.model.backbone_args == {"drop_rate": 0.2, "global_pool": "max"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.image_size=abc", "--set model.image_size=abc: model.image_size: 'abc' is not valid"),
        ("model.imagesize=64", "--set model.imagesize=64: model.imagesize: unknown key. Did you mean 'image_size'?"),
        ("modle.image_size=64", "with --set modle.image_size=64: modle: unknown key. Did you mean 'model'?"),
        ("train.augment={flip: sideways}", "--set train.augment={flip: sideways}: train.augment.flip: 'sideways'"),
        ("model.backbone_args={num_classes: 3}", "--set model.backbone_args={num_classes: 3}: model.backbone_args"),
    ],
)
def test_an_error_in_an_override_is_not_blamed_on_the_file(tmp_path, override, expected) -> None:
    path = tmp_path / "first.yaml"
    path.write_text("dataset: birds\nmodel: {attention: none}\n")
    with pytest.raises(UserError) as raised:
        load_pipeline(path, [override])
    assert expected in str(raised.value)


def test_an_error_in_the_file_is_not_blamed_on_an_override(tmp_path) -> None:
    path = tmp_path / "first.yaml"
    path.write_text("dataset: birds\nmodel: {attention: rsma}\n")
    with pytest.raises(UserError) as raised:
        load_pipeline(path, ["model.image_size=64"])
    assert str(raised.value).startswith(f"{path}: model.attention: 'rsma'")
