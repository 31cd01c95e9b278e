"""The parsers of files that users bring, each with a small valid file: what `fuzz.py` mutates and reads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from data.layouts.official import cells, structures, voc
from PIL import Image
from scipy.io import savemat

from rsam_app.config import Card, ModelConfig, load_card, load_pipeline
from rsam_app.data.images.decoding import read_image
from rsam_app.data.images.scan import ScanCache, scan
from rsam_app.data.layouts import read_listing
from rsam_app.data.records import Record
from rsam_app.data.taxonomy import read_taxonomy
from rsam_app.model import load_model
from rsam_app.model.build import build_model
from rsam_app.model.known_classes import KnownClasses
from rsam_app.model.store import save_model
from rsam_app.review.annotation_tools.files import read_cvat, read_label_studio
from rsam_app.run.corrections import read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.metrics_log import cut_log, read_log
from rsam_app.run.predictions import read_batches, read_embeddings, read_logits, read_predictions, write_predictions
from rsam_app.run.trained_on import training_order
from rsam_app.system.errors import UserError
from rsam_app.training.discovery.targets import stored_targets

IDS = [f"{number}.jpg" for number in range(4)]
BOX = [3, 4, 20, 10]
FORMATS = {"JPEG": {}, "PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "GIF": {}, "BMP": {}, "WEBP": {}}


@dataclass(frozen=True)
class Parser:
    """A parser, and the valid file that it reads."""

    name: str
    file: Path
    kind: str
    """A key of `mutations.MUTATORS`."""
    read: Callable[[Path], object]
    """Reads the file, or what it belongs to, to its end."""


def make_parsers(folder: Path) -> list[Parser]:
    """Write a valid file for each parser, and what it needs beside it, below `folder`; return the parsers."""
    groups = (_written_tables, _written_configurations, _releases, _annotations, _models, _runs, _photographs)
    return [parser for number, group in enumerate(groups) for parser in group(_new(folder / str(number)))]


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _card(layout: Any, root: Path, **more: Any) -> Card:
    return Card(name="fuzzed", layout=layout, root=str(root), **more)


def _listed(layout: str, root: Path, splits: Mapping[str, str] | None = None) -> Callable[[Path], object]:
    return lambda path: read_listing(_card(layout, root, **({"splits": splits} if splits else {})))


def _written_tables(folder: Path) -> list[Parser]:
    rows = "".join(f"{name},{label},train,{x},4,20,10\n" for name, label, x in zip(IDS, "abab", range(4), strict=True))
    taxonomy = "class,genus,family\na,x,z\nb,y,z\n"
    edits = [
        '0.jpg,rectangle,,"[3, 4, 20, 10, 0.5]",Ann,2025-01-01T00:00:00Z,one',
        "1.jpg,label,a,b,Ann,2025-01-01T00:00:00Z,one",
        "2.jpg,exclude,false,true,Ann,2025-01-01T00:00:00Z,one",
        '3.jpg,place,,"right [3, 4, 20, 10, 0.5]",Ann,2025-01-01T00:00:00Z,one',
    ]
    corrections = "\n".join(["id,kind,before,after,who,when,run", *edits, ""])
    lists = {
        "images.txt": "1 001.Auk/a.jpg\n2 001.Auk/b.jpg\n3 002.Tern/c.jpg\n",
        "classes.txt": "1 001.Auk\n2 002.Tern\n",
        "image_class_labels.txt": "1 1\n2 1\n3 2\n",
        "train_test_split.txt": "1 1\n2 0\n3 1\n",
        "bounding_boxes.txt": "1 -1.5 0.0 12.5 30\n3 4 5 6 7\n",
    }
    cub = folder / "cub"
    manifest = _write(folder / "manifest.csv", "path,label,split,x,y,width,height\n" + rows)
    hierarchy = _write(folder / "taxonomy.csv", taxonomy)
    placed = _card("folder", folder, taxonomy=str(hierarchy))
    return [
        Parser("manifest", manifest, "text", _listed("manifest", manifest)),
        Parser("taxonomy", hierarchy, "text", lambda path: read_taxonomy(placed, ["a", "b"])),
        Parser("corrections", _write(folder / "corrections.csv", corrections), "text", read_corrections),
        *(Parser(name, _write(cub / name, text), "text", _listed("cub_200_2011", cub)) for name, text in lists.items()),
    ]


def _written_configurations(folder: Path) -> list[Parser]:
    card = (
        "name: birds\nlayout: folder\nroot: birds\nsplits: {train: train, val: val, test: test}\nignore: [drafts/*]\n"
    )
    pipeline = (
        "name: birds\ndataset: card.yaml\nmodel: {backbone: test_resnet, weights: none, image_size: 64}\n"
        "train:\n  epochs: 2\n  augment: {rotate: 10.0, extra: []}\nselect: {budget: 5}\n"
    )
    path = _write(folder / "pipeline.yaml", pipeline)
    return [
        Parser("card", _write(folder / "card.yaml", card), "yaml", load_card),
        Parser("pipeline", path, "yaml", lambda path: load_pipeline(path, ["train.epochs=3"])),
    ]


def _releases(folder: Path) -> list[Parser]:
    pets, cars, hub, coco = (_new(folder / name) for name in ("pets", "cars", "hub", "coco"))
    for split in ("trainval", "test"):
        _write(pets / "annotations" / f"{split}.txt", f"auk_{len(split)} 1 1 1\n")
    head = _write(pets / "annotations" / "xmls" / "auk_4.xml", voc((1, 2, 30, 40)))
    savemat(cars / "cars_meta.mat", {"class_names": cells(["AM General Hummer", "Ram C/V"]).T})
    corners = {f"bbox_{corner}": value for corner, value in zip(("x1", "y1", "x2", "y2"), BOX, strict=True)}
    annotated = [{**corners, "bbox_x2": 30, "class": 1 + n % 2, "fname": f"{n}.jpg"} for n in range(3)]
    savemat(cars / "cars_train_annos.mat", {"annotations": structures(annotated)})
    images = [{"id": n, "file_name": name} for n, name in enumerate(IDS)]
    annotations = [{"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": BOX} for n in range(len(IDS))]
    categories = [{"id": 1, "name": "auk", "supercategory": "bird"}, {"id": 2, "name": "tern", "supercategory": "bird"}]
    listed = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    features = {"image": {"_type": "Image"}, "label": {"names": ["wren", "auk"], "_type": "ClassLabel"}}
    stored = [{"bytes": _picture("PNG"), "path": name} for name in IDS]
    shard = pa.table({"image": stored, "label": [0, 1, 0, 1]})
    shard = shard.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(shard, hub / "train.parquet")
    arrow = _new(folder / "arrow") / "train.arrow"
    with pa.OSFile(str(arrow), "wb") as sink, pa.ipc.new_stream(sink, shard.schema) as stream:
        stream.write_table(shard)
    train = {"train": "train"}
    return [
        Parser("Pascal VOC", head, "text", _listed("oxford_iiit_pet", pets)),
        Parser("list of pets", pets / "annotations" / "test.txt", "text", _listed("oxford_iiit_pet", pets)),
        Parser("classes of cars", cars / "cars_meta.mat", "bytes", _listed("stanford_cars", cars, train)),
        Parser("cars", cars / "cars_train_annos.mat", "bytes", _listed("stanford_cars", cars, train)),
        Parser("COCO", _write(coco / "train.json", listed), "json", _listed("inaturalist", coco, train)),
        Parser("Hugging Face Parquet", hub / "train.parquet", "parquet", _listed("huggingface", hub)),
        Parser("Hugging Face Arrow", arrow, "bytes", _listed("huggingface", arrow.parent)),
    ]


def _annotations(folder: Path) -> list[Parser]:
    box = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 12.5, "rectanglelabels": ["target"]}
    size = {"original_width": 64, "original_height": 48, "image_rotation": 0}
    polygon = {"points": [[1, 2], [30, 4], [20, 50]], "polygonlabels": ["target"]}
    result = [
        {"type": "rectanglelabels", "from_name": "attention_target", "value": box, **size},
        {"type": "polygonlabels", "from_name": "attention_target", "value": polygon, **size},
        {"type": "choices", "from_name": "ground_truth", "value": {"choices": ["auk"]}},
    ]
    annotation = {"result": result, "was_cancelled": False, "updated_at": "2025-01-01"}
    tasks = [{"data": {"record_id": name, "image": "x"}, "annotations": [annotation]} for name in IDS[:2]]
    cvat = (
        '<annotations><version>1.1</version><image id="0" name="0.jpg" width="64" height="48">'
        '<box label="target" xtl="3" ytl="4" xbr="20" ybr="30" rotation="12.5"/>'
        '<polygon label="target" points="1,2;30,4;20,50"/><tag label="auk"/></image></annotations>'
    )
    export = _write(folder / "export.json", json.dumps(tasks))
    return [
        Parser("Label Studio", export, "json", lambda path: list(read_label_studio(path))),
        Parser("CVAT", _write(folder / "export.xml", cvat), "text", lambda path: list(read_cvat(path))),
    ]


def _models(folder: Path) -> list[Parser]:
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=64)
    save_model(build_model(config, ("auk", "tern")), folder / "model")
    points, labels, logits = np.eye(4)[:, :3] + 1, np.array([0, 0, 1, 1]), np.eye(4)[:, :2]
    KnownClasses.fit(points, labels, points, logits).save(folder / "known.safetensors")
    files = {"config.json": "json", "model.safetensors": "bytes"}
    return [
        *(
            Parser(f"model's {name}", folder / "model" / name, kind, lambda p: load_model(p.parent))
            for name, kind in files.items()
        ),
        Parser("known classes", folder / "known.safetensors", "bytes", KnownClasses.load),
    ]


def _runs(folder: Path) -> list[Parser]:
    texts = {"id": IDS, "path": IDS, "split": ["test"] * 4, "label": ["auk", "tern"] * 2, "predicted": ["auk"] * 4}
    names = ("confidence", "margin", "entropy", "misattention", "cx", "cy", "width", "height", "angle")
    lists = {"logits": [[0.0, 1.5]] * 4, "corners": [[0.5] * 8] * 4, "box": [[0.5] * 4] * 4}
    predictions = folder / "predictions" / "test.parquet"
    numbers = {name: [0.5] * 4 for name in names}
    write_predictions(predictions, pa.table({**texts, **numbers, **lists}), np.ones((4, 3)))
    log = "".join(json.dumps({"epoch": n, "train_loss": 1.5}) + "\n" for n in (1, 2, 3))
    stages = {"stages": {"train": {"inputs": "abc", "seconds": 1.5}}, "round": {"corrections": {"rows": 1}}}
    metrics = json.dumps({"split": "test", "n": 4, "top1": 0.5, "calibration": {"temperature": 1.5}})
    targets = json.dumps({name: [3, 4, 20, 10, 0.5] for name in IDS})

    def read_tables(path: Path) -> None:
        tables = [read_predictions(predictions.parent).to_pylist(), list(read_batches(predictions, 2))]
        tables += [read_logits(predictions), read_embeddings(predictions.parent)]

    def read_metrics(path: Path) -> object:
        return RunFolder(folder).read_metrics()

    return [
        Parser("predictions", predictions, "parquet", read_tables),
        Parser("embeddings", predictions.with_name("test.embeddings.npy"), "bytes", read_tables),
        Parser(
            "run.json",
            _write(folder / "run.json", json.dumps(stages)),
            "json",
            lambda p: RunFolder(folder).finished_stages,
        ),
        Parser("metrics.json", _write(folder / "evaluation" / "metrics.json", metrics), "json", read_metrics),
        Parser("discovered.json", _write(folder / "discovered.json", targets), "json", stored_targets),
        Parser("training records", _write(folder / "records.json", json.dumps(IDS)), "json", training_order),
        Parser(
            "metrics.jsonl", _write(folder / "log.jsonl", log), "text", lambda path: (read_log(path), cut_log(path, 2))
        ),
    ]


def _photographs(folder: Path) -> list[Parser]:
    def read(path: Path) -> None:
        record = Record(id=path.name, path=path, label="", split="train")
        if scan([record], ScanCache(folder / "none.json")).records:
            try:
                read_image(path, 32)
            except UserError as error:
                raise AssertionError("the scan accepts what training cannot read") from error

    pictures = {form: _picture(form, **options) for form, options in FORMATS.items()}
    pictures["16-bit TIFF"] = _picture("TIFF", np.arange(40 * 30, dtype=np.uint16).reshape(30, 40))
    pictures["16-bit PNG"] = _picture("PNG", np.arange(40 * 30, dtype=np.uint16).reshape(30, 40))
    pictures["turned JPEG"] = _picture(
        "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    )
    return [
        Parser(name, _write(folder / name.replace(" ", "_"), content), "bytes", read)
        for name, content in pictures.items()
    ]


def _picture(form: str, pixels: np.ndarray | None = None, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8) if pixels is None else pixels
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, form, **options)
    return stream.getvalue()
