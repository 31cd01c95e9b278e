"""The container's files agree with the repository. Building it needs Docker, and is not tested here."""

from __future__ import annotations

import re
import shlex

import yaml

from rsam_app.config import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def test_everything_copied_exists_and_is_not_ignored():
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for word in shlex.split(line)[:-1]]
    assert {"pyproject.toml", "rsam_app", "datasets", "pipelines"} <= set(copied)
    kept = set((REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines())
    assert all((REPOSITORY / name).exists() and f"!{name}" in kept for name in copied)


def test_the_composition_names_a_database_and_a_declared_argument():
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    rsam = services["rsam"]
    host = re.fullmatch(r"mongodb://([a-z]+):27017", rsam["environment"]["FIFTYONE_DATABASE_URI"])
    assert host is not None and host[1] in services and host[1] in rsam["depends_on"]
    assert set(rsam["build"]["args"]) == set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))
    assert rsam["ports"] == ["127.0.0.1:5151:5151"] and "EXPOSE 5151" in DOCKERFILE
