"""Debian's Prometheus on a private port, with Nightshift's alert rules in a shorter form."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import httpx

from places import ROOT
from servers import Server, missing

RULES = ROOT / "monitoring/alerts.yml"
WINDOW = 12
"""Seconds of each range in the rules."""
THRESHOLDS = {
    "nightshift_queue_oldest_seconds > 300": "nightshift_queue_oldest_seconds > 3",
    "nightshift_beat_last_tick_seconds > 60": "nightshift_beat_last_tick_seconds > 10",
    "nightshift_outbox_oldest_seconds > 120": "nightshift_outbox_oldest_seconds > 2",
}


class Prometheus(Server):
    """Scrapes ``target`` (host and port) every second, with ``token``."""

    program = "prometheus"
    start_seconds = 30

    def __init__(self, target: str, token: str) -> None:
        self.binary = shutil.which("prometheus") or missing("prometheus", "prometheus")
        super().__init__()
        (self.home / "token").write_text(token)
        (self.home / "alerts.yml").write_text(shortened(RULES.read_text()))
        scrape = {
            "job_name": "shop",
            "authorization": {"credentials_file": str(self.home / "token")},
            "static_configs": [{"targets": [target]}],
        }
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
            "rule_files": [str(self.home / "alerts.yml")],
            "scrape_configs": [scrape],
        }
        (self.home / "prometheus.yml").write_text(json.dumps(config))  # YAML takes JSON

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            self.binary,
            f"--config.file={self.home}/prometheus.yml",
            f"--storage.tsdb.path={self.home}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def ping(self) -> Any:
        return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that ``expr`` returns now, each ``{"metric": labels, "value": [time, text]}``."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=10).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        return list(answer["data"]["result"])

    def value(self, expr: str) -> float | None:
        """The value of ``expr``'s only series; None: it has none."""
        found = self.query(expr)
        assert len(found) < 2, f"{expr}: {found}"
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = httpx.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def shortened(rules: str) -> str:
    """The rules with short ranges and thresholds, and firing at once."""
    for long, short in THRESHOLDS.items():
        assert long in rules, long
        rules = rules.replace(long, short)
    rules = re.sub(r"\[\d+[mh]\]", f"[{WINDOW}s]", rules)
    return re.sub(r"for: \d+m", "for: 0s", rules)


def promtool(*words: str) -> list[str]:
    """The command ``promtool words``."""
    return [shutil.which("promtool") or missing("promtool", "prometheus"), *words]
