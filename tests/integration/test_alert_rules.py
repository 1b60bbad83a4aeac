"""The alert rules and the dashboard are valid, name metrics that exist, and each alert has a runbook page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring import dashboard, panels

from places import ROOT
from prometheus_server import promtool

MONITORING = ROOT / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
EXPRESSIONS = [
    *(rule["expr"] for rule in RULES),
    *(query.expr for row in panels.ROWS for panel in row.panels for query in panel.queries),
    *(query for *_, query in dashboard.VARIABLES),
]
CHAPTERS = ("What it means", "How to look", "How to mend")


def checked(*words: str) -> str:
    done = subprocess.run(promtool(*words), cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid() -> None:
    assert f"{len(RULES)} rules found" in checked("check", "rules", "alerts.yml")


def test_the_rules_fire_and_clear_as_promtools_tests_say() -> None:
    assert "SUCCESS" in checked("test", "rules", "alerts_test.yml")
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in RULES:
        mine = [bool(case.get("exp_alerts")) for case in cases if case["alertname"] == rule["alert"]]
        assert mine.count(True) >= 1, f"no test sees {rule['alert']} fire"
        assert mine[-1] is False or mine.count(False) >= 1, f"no test sees {rule['alert']} quiet"


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    config = (MONITORING / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("secret")
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    (tmp_path / "prometheus.yml").write_text(config.replace("/run/nightshift/token", str(tmp_path / "token")))
    assert "SUCCESS" in checked("check", "config", str(tmp_path / "prometheus.yml"))


METRICS = (ROOT / "docs/reference/metrics.md").read_text()
"""What /metrics has; the list is written from the source, and a test compares them."""


def known_names() -> set[str]:
    """The names of the samples that /metrics has."""
    listed = set(re.findall(r"^\| `(nightshift_\w+)`", METRICS, re.MULTILINE))
    assert len(listed) > 10
    return listed | {f"{name}_{part}" for name in listed for part in ("bucket", "sum", "count")}


def known_labels() -> set[str]:
    """The labels that samples have in Prometheus."""
    columns = re.findall(r"^\| `nightshift_\w+` \| \w+ \| ([^|]*) \|", METRICS, re.MULTILINE)
    return {label for column in columns for label in re.findall(r"`(\w+)`", column)} | {
        "le",
        "job",
        "instance",
    }


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_expressions_name_metrics_and_labels_that_exist(expr: str) -> None:
    assert set(re.findall(r"\bnightshift_\w+", expr)) <= known_names()
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", expr)
    selected = re.findall(r'(\w+)=~?"', expr)
    labels = {label.strip() for group in grouped for label in group.split(",")} | set(selected)
    assert labels <= known_labels()


def test_the_dashboard_is_generated_from_its_source() -> None:
    assert dashboard.FILE.read_text() == dashboard.build(), "run `make dashboard`"
    built = json.loads(dashboard.build())
    shown = [target["expr"] for panel in built["panels"] for target in panel.get("targets", [])]
    assert shown == [query.expr for row in panels.ROWS for panel in row.panels for query in panel.queries]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook_page(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    page = (ROOT / rule["annotations"]["runbook_url"]).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE)[: len(CHAPTERS)] == list(CHAPTERS)


def test_a_runbook_page_is_about_an_alert() -> None:
    named = {ROOT / rule["annotations"]["runbook_url"] for rule in RULES}
    assert set((ROOT / "docs/runbooks").glob("*.md")) == named
