"""The reviewer's name, also for users whom the system does not know."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rsam_app.review.decisions.reviewer import reviewer_name

LOGIN = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_a_given_name_comes_before_the_variable_and_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "login")
    assert reviewer_name() == "login"
    monkeypatch.setenv("RSAM_WHO", " bo ")
    assert reviewer_name(" ann ") == "ann"
    assert reviewer_name() == reviewer_name("") == "bo"
    monkeypatch.setenv("RSAM_WHO", " ")
    assert reviewer_name(" ") == "login"


def test_a_user_without_a_passwd_entry_is_named_by_the_number() -> None:
    program = "from rsam_app.review.decisions.reviewer import reviewer_name; print(reviewer_name())"
    unknown = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*unknown, "true"], capture_output=True).returncode:
        pytest.skip("this machine has no user namespaces")
    environment = {name: value for name, value in os.environ.items() if name not in (*LOGIN, "RSAM_WHO")}
    done = subprocess.run([*unknown, sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("12345\n", 0), done.stderr
