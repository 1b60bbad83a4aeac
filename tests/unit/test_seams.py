"""Each seam is unchanged since its review, and our code uses no seam that is missing in the table."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import flask_nightshift
import private_names
from flask_nightshift.compat import check, found, source
from flask_nightshift.compat.seam import Kind
from flask_nightshift.compat.seams import SEAMS
from places import SUPPORT
from private_names import Override, Use

ROOT = Path(__file__).parents[2]
EXTENSION_POINTS = {
    "celery.app.base:Celery": "amqp_cls events_cls registry_cls task_cls on_init",
    "celery.app.task:Task": """abstract acks_late acks_on_failure acks_on_failure_or_timeout acks_on_timeout apply
        apply_async ignore_result max_retries on_bound reject_on_worker_lost Request retry retry_on_worker_lost
        soft_time_limit time_limit""",
    "celery.bootsteps:Step": "name requires",
    "celery.bootsteps:StartStopStep": "name start stop terminate",
    "celery.worker.components:Beat": "requires",  # Celery writes it to the class of each step that it loads
    "click.core:Command": "make_context",
    "click.core:Group": "get_command invoke list_commands",
    "click.types:ParamType": "convert",
    "click.types:_NumberRangeBase": "convert",
    "kombu.transport.base:Transport": "driver_name driver_type driver_version",
    "kombu.transport.virtual.base:AbstractChannel": "_get _purge _put _size",
    "prometheus_client.registry:Collector": "collect",
    "sqlalchemy.sql.type_api:ExternalType": "cache_ok",
    "sqlalchemy.sql.type_api:TypeDecorator": "bind_processor process_bind_param process_result_value",
    "werkzeug.routing.converters:BaseConverter": "part_isolating regex",
}
"""What its authors document as made to be overridden."""
PUBLIC = {
    "_exit": "os._exit, of the standard library",
    "_get_current_object": "werkzeug documents it; Celery's is in the table",
    "_record": "structlog documents it: the key of a log record",
    "_fields": "of named tuples",
    "_replace": "of named tuples",
}
"""Names that begin with an underscore and are documented."""
OURS = {
    "_Hook.__get__.in_app_context": "_app_context",
    "JobSettings": "_change",
    "_histogram": "_buckets _sum",
    "bucket_columns": "_to_",
    "run_body": "_app_context _attempt",
    "MemoryChannel.next_of": "_get",
    "PublishingChannel._put": "_publish_batch",  # an argument of kombu's, whose whole method is a seam
    "TaskProxy.__init__": "_find",
    "_os_local": "_local",  # of the standard library
    "<module>": "_Worker",
}
"""Names that only look like somebody else's attributes, by where they are used."""
OUR_PATCHES = {
    "Companions.__init__": "worker",
    "JobPublisher.one": "ignored",
    "JobConsumer.__init__": "start",
    "JobTask.retry": "body options failure",
    "Own.get": "value",
    "Protected": "result failure options *",
    "TaskMaker.register_task": "name *",
    "TaskProxy": "*",
    "Worker.__init__": "worker",
    "_Guard._of_tasks": "*",
    "_complete_limits": "time_limit",
    "answer": "status_code",
    "body": "max_content_length",
    "_postgresql.begin_anew": "is_disconnect",
    "configure": "task_cls",
    "deadline": "daemon",
    "ResultWaits._register": "backend",
    "extend": "aapply_async adelay aget apply_async_on_commit delay_on_commit",
    "let_pass": "seconds",
    "observe": "disabled",
    "protect": "__class__",
    "serve": "max_content_length max_form_memory_size",
    "wake": "disabled",
}
"""Assignments to objects of our own, and to attributes that are documented as made for that."""


# -- the libraries ----------------------------------------------------------------------------------------------


def test_every_seam_is_as_it_was_when_it_was_checked() -> None:
    changed = check.differing()
    assert not changed, "\n".join(
        [
            "read what has changed and why we use it, mend what has to be, then `make seams`:",
            *map(str, changed),
        ]
    )


def test_each_seam_stands_once_in_the_table_and_in_the_record() -> None:
    assert sorted(map(str, SEAMS)) == sorted(check.checked().seams), "run `make seams`"
    assert all(seam.reason.endswith(".") and seam.used_by for seam in SEAMS)


# -- our own code -----------------------------------------------------------------------------------------------


def test_every_override_is_a_seam_or_a_documented_extension_point() -> None:
    missing = [str(each) for each in private_names.overrides() if not _is_known(each)]
    assert not missing, f"add to compat/ (with a reason), then `make seams`: {sorted(missing)}"


def test_every_foreign_private_name_is_a_seam() -> None:
    missing = [
        str(use) for use in private_names.private_uses() if not _is_seam(use) and not _is_ours(use, OURS)
    ]
    assert not missing, f"add to compat/ (with a reason), then `make seams`: {missing}"


def test_every_method_that_we_replace_on_an_object_is_a_seam() -> None:
    missing = [
        str(use) for use in private_names.patches() if not _is_patch(use) and not _is_ours(use, OUR_PATCHES)
    ]
    assert not missing, f"add to compat/ (with a reason), then `make seams`: {missing}"


def test_users_of_a_seam_exist_and_name_it() -> None:
    known = private_names.definitions()
    gone = [f"{seam}: {name}" for seam in SEAMS for name in seam.used_by if name not in known]
    assert not gone, f"compat/ says that these use a seam, and there is no such definition of ours: {gone}"
    unused = [
        str(seam)
        for seam in SEAMS
        if seam.kind is not Kind.READ and not any(seam.name in known[name] for name in seam.used_by)
    ]
    assert not unused, f"take out of compat/ what is used no more: {unused}"


def test_imported_libraries_are_declared() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = told["project"], told["dependency-groups"]["shop"]
    for extra in ("embedded", "mcp", "otel", "postgres"):
        extras += project["optional-dependencies"][extra]
    declared = {_canonical(Requirement(each).name) for each in [*project["dependencies"], *extras]}
    where = packages_distributions()
    undeclared = {
        package
        for package in _imported_packages() - {"flask_nightshift", "flask_nightshift_alembic"}
        if package in where and not {_canonical(name) for name in where[package]} & declared
    }
    assert undeclared <= {"psycopg2"}  # if the user has chosen it


@pytest.mark.parametrize("library", check.WATCHED)
def test_a_library_is_capped_at_the_version_that_was_checked(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = [r for r in map(Requirement, project["dependencies"]) if r.name == library]
    major, minor, *_ = map(int, check.checked().versions[library].split("."))
    assert required.specifier.contains(check.checked().versions[library])
    assert not required.specifier.contains(f"{major}.{minor + 1}.0")


# -- that the checks can fail -----------------------------------------------------------------------------------


UPSTREAM = [
    # who would lose it, how upstream changes it, what is said of it
    (
        "celery.concurrency.base", "BasePool", "on_terminate", "renamed",
        "celery.concurrency.base:BasePool.on_terminate is gone",
        "What a worker asks of its pool.",
    ),
    (
        "celery.worker.request", "Request", "_announce_cancelled", "renamed",
        "celery.worker.request:Request._announce_cancelled is gone",
        "A lost connection ends an attempt, and settles nothing.",
    ),
    (
        "kombu.transport.redis", "Channel", "_brpop_start", "def _brpop_start(self, timeout, queues): pass",
        "kombu.transport.redis:Channel._brpop_start takes (self, timeout, queues)",
        "ours claim a batch in place of BRPOP",
    ),
    (
        "celery.worker.request", "Request", "_request_dict", "renamed",
        "celery.worker.request:Request._request_dict is gone",
        "The headers that go to the child, which we complete.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("module", "owner", "name", "how", "said", "reason"), UPSTREAM)
def test_a_worker_does_not_start_with_a_library_that_changed_a_seam(
    module: str, owner: str, name: str, how: str, said: str, reason: str, tmp_path: Path
) -> None:
    run = _python(
        f"""
        import importlib, sys
        sys.path.insert(0, {str(SUPPORT)!r})
        import upstream
        upstream.change({module!r}, {owner!r}, {name!r}, {how!r})
        from flask import Flask
        from flask_nightshift import Nightshift
        app = Flask("shop", instance_path={str(tmp_path)!r})
        app.config["NIGHTSHIFT_BROKER_URL"] = "redis://127.0.0.1:1"
        Nightshift(app)
        from flask_nightshift.observe.doctor import examine
        from flask_nightshift.observe.doctor.configuration import libraries
        for finding in examine(app.extensions["nightshift"], [libraries]):
            print("DOCTOR", finding.level, finding.message)
        app.extensions["celery"].Worker(pool_cls="prefork")
        """
    )
    assert run.returncode
    error = run.stderr[run.stderr.index("IncompatibleLibrary") :]
    for told in (error, run.stdout):
        assert said in told
        assert reason in told
        assert "(checked with " in told
    assert "DOCTOR error" in run.stdout


def test_a_changed_body_of_a_seam_is_found_by_its_source() -> None:
    record = check.checked()
    name = "celery.worker.request:Request._announce_cancelled"
    other = replace(record, seams={**record.seams, name: {**record.seams[name], "source": "0" * 16}})
    (changed,) = check.differing(record=other)
    assert str(changed).startswith(f"{name} has changed in celery {check.installed('celery')}")
    assert "A lost connection ends an attempt, and settles nothing." in str(changed)


def test_an_unchecked_version_is_named() -> None:
    record = check.checked()
    other = replace(record, versions={**record.versions, "kombu": "5.6.9"})
    (unchecked,) = check.unchecked(other)
    assert (unchecked.library, unchecked.checked) == ("kombu", "5.6.9")
    assert check.installed("kombu") in str(unchecked)


def test_a_function_replaced_by_another_tool_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.app.base import Celery

    monkeypatch.setattr(Celery, "send_task", lambda *args, **kwargs: None)
    assert not check.broken()


def test_a_fingerprint_does_not_change_with_comments_docstrings_and_formatting() -> None:
    one = 'def f(a, *, b=1):\n    """What it does."""\n    return {**a, "b": f"{b!r}"}  # why\n'
    two = "def f(\n  a,\n  *,\n  b = 1,\n):\n\n    return {\n        **a, 'b': f'{b!r}'\n    }\n"
    other = "def f(a, *, b=2):\n    return {**a, 'b': f'{b!r}'}\n"
    first, second, third = (source.normal(ast.parse(code)) for code in (one, two, other))
    assert first == second
    assert first != third


def test_a_signature_is_written_as_python_writes_it() -> None:
    def sample(a: Any, b: Any = 1, *rest: Any, c: Any, d: Any = 2, **more: Any) -> None: ...

    def keywords(a: Any, *, b: Any = 1) -> None: ...

    assert found.signature(sample, __name__) == "(a, b=, *rest, c, d=, **more)"
    assert found.signature(staticmethod(keywords), __name__) == "(a, *, b=)"
    assert found.signature(property(keywords), __name__) == "(a, *, b=)"
    assert found.signature(sample, "celery") is None
    assert found.signature(1, "celery") == ""


def test_a_new_private_name_or_override_is_found() -> None:
    """They find a private read, a private override, one by a mixin, a name in ``getattr``, and a patch."""
    uses = {(use.name, use.where) for use in private_names.private_uses()}
    assert {
        ("_sock", "LeaseRenewer._wait"),
        ("_state", "JobPool.on_apply"),
        ("_tls", "_follow_context.pushed"),
    } <= uses
    known = {(override.name, override.where) for override in private_names.overrides()}
    assert {
        ("flush", "JobPool"),
        ("_brpop_start", "Channel"),
        ("_put", "PublishingChannel"),
    } <= known
    assert "drain_events" in {use.name for use in private_names.patches()}
    assert not _is_seam(Use("_sock", "Nobody", "nowhere.py", 1))
    assert not _is_known(Override(dict, "_new", "Nobody"))
    code = """
        from celery.beat import _new_import
        def somebody(job):
            job._new_read
            getattr(job, "_new_name")
            job.apply_async = None
    """
    reader = private_names.Reader(private_names.modules()[0])
    reader.visit(ast.parse(textwrap.dedent(code)))
    assert {use.name for use in reader.uses} == {"_new_import", "_new_read", "_new_name"}
    assert not any(map(_is_seam, reader.uses))
    assert [use.name for use in reader.patches] == ["apply_async"]
    assert not any(map(_is_patch, reader.patches))


# -- helpers ----------------------------------------------------------------------------------------------------


def _is_known(override: Override) -> bool:
    owner = f"{override.owner.__module__}:{private_names.qualified(override.owner)}"
    return override.name in EXTENSION_POINTS.get(owner, "").split() or any(
        (seam.owner, seam.name) == (owner, override.name) and override.where in seam.used_by for seam in SEAMS
    )


def _is_seam(use: Use) -> bool:
    """For an import, ``where`` is the module that it imports from, and the name may be a module."""
    return use.name in PUBLIC or any(
        (seam.name == use.name and (seam.owner == use.where or _within(use.where, seam.used_by)))
        or seam.owner.partition(":")[0] == f"{use.where}.{use.name}"
        for seam in SEAMS
    )


def _is_patch(use: Use) -> bool:
    kinds = (Kind.PATCH, Kind.OVERRIDE)
    return any(
        use.name in (seam.name, private_names.ANY)
        and seam.kind in kinds and _within(use.where, seam.used_by)
        for seam in SEAMS
    )  # fmt: skip


def _is_ours(use: Use, known: dict[str, str]) -> bool:
    return any(use.name in names.split() and _within(use.where, (where,)) for where, names in known.items())


def _within(where: str, definitions: tuple[str, ...]) -> bool:
    return any(where == name or where.startswith(f"{name}.") for name in definitions)


def _imported_packages() -> set[str]:
    names: set[str] = set()
    for module in private_names.modules():
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(flask_nightshift.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environ, timeout=60
    )
