import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ttt_config import RunConfig
from ttt_training import doctor
from ttt_training.doctor import Finding
from ttt_training.doctor.finding import ok, problem, warning


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three checks, one of each outcome, in the place of the real ones."""

    def good(config: RunConfig) -> Iterator[Finding]:
        yield ok("good", f"{config.model.num_layers} layers")

    def slow(_: RunConfig) -> Iterator[Finding]:
        yield warning("slow", "it waits", "wait less")

    def bad(_: RunConfig) -> Iterator[Finding]:
        yield problem("bad", "it fails", "do it again")

    monkeypatch.setattr(doctor, "CHECKS", {"good": good, "slow": slow, "bad": bad})


@pytest.mark.usefixtures("checks")
def test_each_finding_has_its_fix(ttt: Callable) -> None:
    code, out, err = ttt("doctor", "--num-layers", "3")
    assert code == 1
    assert out.splitlines() == [
        "ok    good       3 layers",
        "warn  slow       it waits",
        "                 -> wait less",
        "BAD   bad        it fails",
        "                 -> do it again",
    ]
    assert err.splitlines()[-1] == "error: 1 problem (bad); each has its fix beside it"


@pytest.mark.usefixtures("checks")
def test_a_warning_is_no_failure(ttt: Callable) -> None:
    code, out, err = ttt("doctor", "good", "slow", "--quiet")
    assert (code, err) == (0, "")
    assert out == "warn  slow       it waits\n                 -> wait less\n"
    assert ttt("doctor", "good", "--quiet") == (0, "", "")


@pytest.mark.usefixtures("checks")
def test_json_has_every_finding(ttt: Callable) -> None:
    code, out, err = ttt("doctor", "--json")
    assert code == 1
    found = json.loads(out)
    assert [each["status"] for each in found] == ["ok", "warning", "problem"]
    assert found[2] == {
        "check": "bad",
        "status": "problem",
        "found": "it fails",
        "fix": "do it again",
    }
    assert json.loads(err)["error"]["exit_code"] == 1


def test_a_check_that_is_not_there_is_refused(ttt: Callable) -> None:
    code, out, err = ttt("doctor", "nix")
    assert (code, out) == (3, "")
    assert "no check `nix`, expected one of: python, torch" in err


def test_the_help_names_every_check(ttt: Callable) -> None:
    words = ttt("doctor", "--help").out.replace(",", " ").replace(".", " ").split()
    assert set(doctor.CHECKS) <= set(words)


def test_the_checks_of_a_plan_are_made_for_it(ttt: Callable, tmp_path: Path) -> None:
    code, out, _ = ttt("doctor", "disk", "--out", str(tmp_path / "run"), "--size", "12m", "--quiet")
    assert (code, out) == (0, "")
    assert list(tmp_path.iterdir()) == []
