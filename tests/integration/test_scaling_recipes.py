"""The recipes of ``docs/how-to/autoscale.md``, followed over HTTP as KEDA and the JSON exporter do."""

from __future__ import annotations

import json
import math
import re
import subprocess
import threading
from collections.abc import Iterator
from functools import reduce
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from werkzeug.serving import make_server

from opsapp import Ops, opened
from places import ROOT
from prometheus_server import promtool
from servers import Valkey, wait_for

TOKEN = "a-token-of-the-scaler"
PAGE = (ROOT / "docs/how-to/autoscale.md").read_text()
RECIPES: list[dict[str, Any]] = [
    each for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for each in yaml.safe_load_all(block)
]
METADATA = {
    "url", "valueLocation", "targetValue", "activationTargetValue", "format", "unsafeSsl", "timeout", "authMode",
    "aggregateFromKubeServiceEndpoints", "aggregationType", "method", "keyParamName",
}  # fmt: skip
"""What a ``metrics-api`` trigger of KEDA 2.21 takes."""


def kind(name: str) -> dict[str, Any]:
    [found] = [each for each in RECIPES if each.get("kind") == name]
    return found


def part(name: str) -> Any:
    [found] = [each[name] for each in RECIPES if name in each]
    return found


class NoAnswer(Exception):
    """What a scaler makes of any answer but 200 with a number."""


class Scaler:
    """Reads one number as KEDA's ``metrics-api`` does: the status must be 200, and the place must hold a number."""

    def __init__(self, url: str, location: str, token: str) -> None:
        parts = urlsplit(url)
        self.path = f"{parts.path}?{parts.query}"
        self.location = location
        self.headers = {"Authorization": f"Bearer {token}"}

    def read(self, port: int) -> float:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", self.path, headers=self.headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise NoAnswer(answer.status)
        found = reduce(lambda value, name: value[name], self.location.split("."), json.loads(body))
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise NoAnswer(found)
        return found


def keda() -> Scaler:
    """The scaler that the objects for KEDA describe."""
    [trigger] = kind("ScaledObject")["spec"]["triggers"]
    metadata = trigger["metadata"]
    assert trigger["type"] == "metrics-api"
    assert set(metadata) <= METADATA
    assert all(isinstance(each, str) for each in metadata.values()), "KEDA takes texts only"
    assert metadata["authMode"] == "bearer"
    auth, secret = kind("TriggerAuthentication"), kind("Secret")
    assert trigger["authenticationRef"]["name"] == auth["metadata"]["name"]
    [ref] = auth["spec"]["secretTargetRef"]
    assert ref["parameter"] == "token"
    assert ref["name"] == secret["metadata"]["name"]
    assert ref["key"] in secret["stringData"]
    return Scaler(metadata["url"], metadata["valueLocation"], TOKEN)


def exporter() -> Scaler:
    """What the JSON exporter reads for Prometheus."""
    [scrape] = part("scrape_configs")
    [name] = scrape["params"]["module"]
    module = part("modules")[name]
    [metric] = module["metrics"]
    [url] = scrape["params"]["target"]
    location = re.fullmatch(r"\{ \.([\w.]+) \}", metric["path"])
    assert location is not None
    assert set(module["http_client_config"]["authorization"]) == {"credentials_file"}  # its type is Bearer
    return Scaler(url, location[1], TOKEN)


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    closed: dict[str, Any] = {"NIGHTSHIFT_HTTP_ACCESS": "token", "NIGHTSHIFT_HTTP_TOKEN": TOKEN}
    with opened(tmp_path, valkey.fresh_url(), **closed) as made:
        yield made


@pytest.fixture
def port(ops: Ops) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, ops.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def wishes(scaler: Scaler, port: int, number: float) -> None:
    def said() -> bool:
        try:
            return scaler.read(port) == number
        except NoAnswer:  # on a busy machine, the app may not know in time
            return False

    wait_for(said, 30, f"{number} is not the wish")


@pytest.mark.parametrize("recipe", [keda, exporter])
def test_a_scaler_reads_the_wish(ops: Ops, port: int, valkey: Valkey, recipe: Any) -> None:
    scaler = recipe()
    wishes(scaler, port, 0)
    ops.ran(runtime=20)
    ops.flush()
    ops.enqueue(count=60)  # 20 s each within 30 s: 40 places, and that of the job that ended
    wishes(scaler, port, math.ceil((60 * 20 / 30 + 20 / 300) / 4))
    with pytest.raises(NoAnswer, match="403"):
        Scaler(f"http://web{scaler.path}", scaler.location, "another").read(port)
    valkey.stop()
    with pytest.raises(NoAnswer, match="503"):  # so it reports nothing, and what runs stays
        scaler.read(port)


def test_one_replica_for_each_wished_worker() -> None:
    spec = kind("ScaledObject")["spec"]
    [trigger] = spec["triggers"]
    assert (trigger["metricType"], trigger["metadata"]["targetValue"]) == ("AverageValue", "1")
    assert "fallback" not in spec
    [metric] = kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_the_metric_has_one_name_from_the_exporter_to_the_hpa() -> None:
    [exported] = part("modules")["nightshift"]["metrics"]
    [rule] = part("externalRules")
    [metric] = kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert rule["seriesQuery"] == f'{{__name__="{exported["name"]}"}}'
    assert metric["external"]["metric"]["name"] == exported["name"]
    [scrape] = part("scrape_configs")
    assert metric["external"]["metric"]["selector"]["matchLabels"] == {"job": scrape["job_name"]}


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": part("scrape_configs")}))
    done = subprocess.run(
        promtool("check", "config", str(config)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
