"""`rsam adopt CHECKPOINT --data CARD`: a run of a classifier that others trained, without training."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import load_card
from rsam_app.config.load import validated_pipeline
from rsam_app.run.folder import RunFolder, environment
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.stage_inputs import train_inputs
from rsam_app.workflow.stages import predict_and_evaluate


def adopt(
    checkpoint: str, card: str, run: Path | None, backbone: str | None, classes: Path | None, reporter: Reporter
) -> Job:
    """Make a run of a checkpoint for the dataset of a card, then predict and evaluate; returns its job.

    `classes` lists the names of the checkpoint's outputs, one a line; without it they are those that the checkpoint
    names. Raises `UserError` if the checkpoint cannot be read, its classes do not match, or the folder is taken.
    """
    from rsam_app.model import adopted as models
    from rsam_app.model import save_model

    name = load_card(card).name
    folder = RunFolder(run or Path("runs") / f"{name}-adopted")
    if folder.config_path.exists():
        raise UserError(
            f"{folder.path}: is a run already. Continue it with `rsam evaluate {folder.path}`,"
            " or give another folder with --run."
        )
    found = models.plain_classifier(checkpoint, backbone)
    plain = found.model
    own = _names(classes) if classes else tuple(plain.pretrained_cfg.get("label_names") or ())
    outputs = int(plain.num_classes)
    if len(own) != outputs:
        where = f"{classes} lists {len(own)} names" if classes else f"the checkpoint names {len(own) or 'none'} of them"
        raise UserError(
            f"{checkpoint}: has {outputs} outputs, and {where}.\n"
            "Give the names of its outputs, in their order, one a line, with --classes FILE."
        )
    side = int((plain.pretrained_cfg.get("input_size") or (3, 224, 224))[-1])
    is_file = Path(checkpoint).expanduser().is_file()
    model = {
        "backbone": found.network.partition(".")[0],
        "backbone_args": found.args,
        "attention": "class_map",
        "image_size": side,
        "weights": str(Path(checkpoint).expanduser().resolve()) if is_file else "timm",
    }
    content = {"name": folder.path.name, "dataset": card, "model": model}
    job = Job(validated_pipeline(content, "adopt"), folder, reporter)
    dataset = job.corrected.dataset
    job.require_evaluated()
    rows = models.rows_of_classes(own, dataset.classes, checkpoint)
    adopted = models.adopt(found, rows, dataset.classes)
    if found.assumed:
        reporter.say(found.assumption())
    with folder.writing():
        folder.save_pipeline(job.pipeline)
        save_model(adopted, folder.model)
        data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "records": len(dataset.records)}
        data |= {"learns_from": job.learns_from, **job.left_out(dataset), "trained_on": {}}
        adopted_from = {"checkpoint": checkpoint, "network": found.network, "outputs": outputs}
        folder.update_json(**environment(), data=data, adopted=adopted_from, weights=adopted.pretrained)
        folder.finish_stage("train", train_inputs(job), 0.0)
        predict_and_evaluate(job)
    return job


def _names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {path}: cannot be read ({error}). Give a text file, one name a line.") from error
    return tuple(line.strip() for line in lines if line.strip())
