"""Sure answers in FiftyOne: those of the run's taxonomy and threshold, updated when these change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rsam_app.config.taxonomy import Taxonomy
from rsam_app.data.records import Dataset
from rsam_app.model.calibration import calibrated_probabilities
from rsam_app.model.roll_up import RollUp
from rsam_app.review.dataset.schema import open_review
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SURE, read_logits, read_predictions, replace_columns, sure_columns

TEMPERATURE = 0.8


def fit(run: RunFolder, classes: tuple[str, ...], roll_up: RollUp | None) -> None:
    """What `rsam predict` writes beside a model's weights."""
    run.model.mkdir(exist_ok=True)
    fitted = {"temperature": TEMPERATURE, **({"roll_up": roll_up.as_json()} if roll_up else {})}
    config = {"label_names": list(classes), "pretrained_cfg": fitted}
    (run.model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def shown(dataset: Dataset) -> dict[str, Any]:
    review_set = open_review(dataset.name)
    answers = zip(*review_set.values(["record_id", "run_one_sure"]), strict=True)
    return {i: answer and (answer.level, answer.label, round(answer.confidence, 5)) for i, answer in answers}


def test_fiftyone_has_the_answers_of_the_taxonomy(drawn: Dataset, make_run: Callable[..., RunFolder]) -> None:
    run = make_run(drawn)
    above = {"levels": ["kind"], "nodes": [["one" if i % 2 else "other" for i in range(len(drawn.classes))]]}
    taxonomy = Taxonomy.of(drawn.classes, above)
    splits = sorted(run.predictions.glob("*.parquet"))
    ids = [i for path in splits for i in read_predictions(run.predictions, [path.stem]).column("id").to_pylist()]
    probabilities = [p for path in splits for p in calibrated_probabilities(read_logits(path), TEMPERATURE)]
    for threshold in (0.55, 0.7):
        roll_up = RollUp(taxonomy, threshold, 0.95)
        fit(run, drawn.classes, roll_up)
        for path in splits:
            replace_columns(path, sure_columns(roll_up(calibrated_probabilities(read_logits(path), TEMPERATURE))))
        write_run(run, drawn)
        expected = dict(zip(ids, roll_up(probabilities), strict=True))
        assert len({answer and answer.level for answer in expected.values()}) > 1
        assert shown(drawn) == {
            i: answer and (answer.level, answer.name, round(answer.probability, 5)) for i, answer in expected.items()
        }
    fields = {name for name in open_review(drawn.name).get_field_schema() if name.startswith("run_one_sure")}
    assert fields == {"run_one_sure"}, "the columns of the table are this one field"
    fit(run, drawn.classes, None)
    for path in splits:
        replace_columns(path, dict.fromkeys(SURE.names))
    write_run(run, drawn)
    assert set(shown(drawn).values()) == {None}
