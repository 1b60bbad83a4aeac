"""One running stack with its own project name, image and ports, so that it touches no other stack."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
PARTNER = "tests/compose/docker-compose.partner.yml"
T = TypeVar("T")


class Failed(Exception):
    """The stack did not do what it must."""


class Stack:
    """Compose on ``files`` (relative to the project), with ``env_file`` in the place of ``.env``."""

    def __init__(self, files: Sequence[str], env_file: Path, image: str) -> None:
        self.project = f"nightshift-test-{os.getpid()}"
        self.image = image
        port, mail_port = _free_ports(2)
        self.web = f"http://127.0.0.1:{port}"
        self.mail = f"http://127.0.0.1:{mail_port}"
        self._compose = [*compose_command(), "--project-name", self.project, "--project-directory", str(ROOT)]
        self._compose += ["--env-file", str(env_file)]
        for file in (*files, PARTNER):
            self._compose += ["--file", str(ROOT / file)]
        kept = {
            key: value
            for key, value in os.environ.items()
            if key.startswith(("PATH", "HOME", "DOCKER", "TMP"))
        }
        self._environ = kept | {"SHOP_IMAGE": image, "PORT": str(port), "MAILPIT_PORT": str(mail_port)}

    def compose(self, *words: str, timeout: float = 300, check: bool = True) -> str:
        """Run Compose; gives what it printed on standard output."""
        done = subprocess.run(
            [*self._compose, *words],
            cwd=ROOT,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise Failed(
                f"{words[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def flask(self, *words: str) -> str:
        """Run ``flask …`` in the web container; raises when it does not end with 0."""
        return self.compose("exec", "-T", "web", "flask", *words, timeout=60)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """``docker inspect`` of the service's containers, also of those that have ended."""
        label = "label=com.docker.compose."
        listed = docker(
            "ps", "-aq", "-f", f"{label}project={self.project}", "-f", f"{label}service={service}"
        ).split()
        return json.loads(docker("inspect", *listed)) if listed else []

    def running(self, service: str) -> list[dict[str, Any]]:
        return [found for found in self.containers(service) if found["State"]["Running"]]

    def await_healthy(self, service: str, count: int, seconds: float) -> float:
        """Wait until exactly ``count`` containers run and are healthy; gives the seconds that took."""

        def healthy() -> bool:
            states = [found["State"].get("Health", {}).get("Status") for found in self.running(service)]
            return states == ["healthy"] * count

        return until(healthy, seconds, f"{count} of {service} healthy", every=0.5)

    def partner(self) -> str:
        """The URL at which the partner is reached from here."""
        return "http://" + self.compose("port", "partner", "8000").strip().replace("0.0.0.0", "127.0.0.1")

    def remove(self) -> None:
        """Remove containers, volumes and networks, and see that none is left."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        label = f"label=com.docker.compose.project={self.project}"
        left = docker("ps", "-aq", "-f", label) + docker("volume", "ls", "-q", "-f", label)
        if left.strip():
            raise Failed(f"left behind: {left}")


def compose_command() -> list[str]:
    """Compose as a plugin of docker, or the older program."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    sys.exit("There is no Compose: install docker-compose (1.29 or newer) or docker's compose plugin.")


def need_engine() -> None:
    """End with a message when no Docker engine answers."""
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        sys.exit("There is no docker program: install Docker, or run this where it is.")
    except subprocess.TimeoutExpired:
        sys.exit("The Docker engine does not answer.")
    if asked.returncode:
        sys.exit(f"No Docker engine runs here: start it and try again.\n{asked.stderr.strip()}")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=120).stdout


def remove_image(image: str) -> None:
    """Remove the image, if it was built."""
    subprocess.run(["docker", "rmi", "--force", image], capture_output=True, timeout=120)


def all_logs(container: str) -> list[str]:
    """What the container wrote since it was made, without empty lines."""
    done = subprocess.run(
        ["docker", "logs", container], check=True, capture_output=True, text=True, timeout=60
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


@contextlib.contextmanager
def empty_file() -> Iterator[Path]:
    """Stands for "no .env": Compose would otherwise read the one in the project."""
    with tempfile.NamedTemporaryFile(suffix=".env") as file:
        yield Path(file.name)


def http(url: str, body: Any = None) -> tuple[int, str]:
    """GET, or POST ``body`` as JSON; gives status and text, (0, why) when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError as exc:
        return 0, str(exc)


def until(ask: Callable[[], T], seconds: float, what: str, *, every: float = 0.1) -> float:
    """Ask until the answer is true; gives the seconds that took, raises ``Failed`` when they run out."""
    begun = time.monotonic()
    while not ask():
        if time.monotonic() - begun > seconds:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return time.monotonic() - begun


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
