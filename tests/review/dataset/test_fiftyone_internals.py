"""FiftyOne's private names do what its public ones do."""

from __future__ import annotations

from typing import Any

from rsam_app.review.dataset.fiftyone_internals import database, dataset_id, dataset_of, stored_samples


def test_the_apps_dataset_is_read_again_only_if_it_was_saved(review_set: Any) -> None:
    from fiftyone.operators.executor import ExecutionContext

    def shown() -> Any:
        return dataset_of(ExecutionContext(request_params={"dataset_id": str(dataset_id(review_set))}))

    document = shown()._doc
    assert shown()._doc is document and shown().name == review_set.name
    saved_elsewhere = {"$set": {"info.seen": "by another process"}, "$currentDate": {"last_modified_at": True}}
    database().datasets.update_one({"_id": dataset_id(review_set)}, saved_elsewhere)
    assert shown().info["seen"] == "by another process" and shown()._doc is not document
    review_set.reload()
    review_set.info["seen"] = "here"
    review_set.save()
    assert shown().info["seen"] == "here"


def test_a_view_is_read_as_fiftyone_reads_it(review_set: Any) -> None:
    view = review_set.match({"split": "train"}).sort_by("run_one_misattention").skip(2).limit(5)
    assert [str(sample["_id"]) for sample in stored_samples(view, {"$limit": 3})] == view.values("id")[:3]
    assert len(stored_samples(review_set)) == len(review_set)
