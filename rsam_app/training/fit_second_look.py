"""How sure a first look must be to be the last: the threshold of `model.second_look: unsure`."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from rsam_app.model import load_model
from rsam_app.model.attention.second_look import UNSURE_SHARE
from rsam_app.model.fitted import save_fitted
from rsam_app.run.job import Job
from rsam_app.training.setup import model_outputs


def fit_second_look(job: Job) -> None:
    """Save with the run's model, if it has a second look, the confidence in whole validation images that
    `UNSURE_SHARE` of them fall below. Every process must call it. Without a val split all images are looked at twice.
    """
    if not job.corrected.dataset.split("val"):
        return
    model = load_model(job.run.model).to(job.accelerator.device)
    if model.second_look not in (True, "unsure"):
        return
    model.second_look = False
    confidence = softmax(model_outputs(job, model, "val").logits, axis=1).max(axis=1)
    if job.accelerator.is_main_process:
        save_fitted(job.run.model, second_look_below=float(np.quantile(confidence, UNSURE_SHARE)))
    job.accelerator.wait_for_everyone()
