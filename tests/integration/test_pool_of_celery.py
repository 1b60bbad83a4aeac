"""Where our pool of processes cannot be used, ``--pool prefork`` is Celery's own, and jobs end as they do in ours."""

from __future__ import annotations

from pathlib import Path

from remote_control import remote_control
from servers import Valkey
from system import System, running

CELERYS = "celery.concurrency.prefork:TaskPool"


def test_jobs_end_in_it_as_in_ours(valkey: Valkey, tmp_path: Path) -> None:
    with remote_control(tmp_path, valkey.fresh_url()) as control:
        control.system.env["FLASK_APP"] = "celerypoolapp"
        worker = control.system.worker("--concurrency", "2")
        assert control.ask("stats")["pool"]["implementation"] == CELERYS
        fine, again, killed = control.send("succeed"), control.send("flaky", 1), control.send("kill_child", 1)
        control.until(
            lambda: all(job.state == "succeeded" for job in (fine, again, killed)), "they do not succeed"
        )
        assert [job.begun for job in (fine, again, killed)] == [1, 2, 2]
        endless, dead = control.send("hang"), control.send("permanent")
        endless.died("exhausted")
        dead.died("permanent")
        held, victim = control.hold(2)
        control.ask("revoke", task_id=[victim.id], terminate=True)
        victim.was_revoked(begun=1)
        held.go_on()
        held.ran_once()
        assert not worker.lines("job.settled_with_errors")


def test_a_stop_ends_what_runs_for_longer_than_its_grace(valkey: Valkey, tmp_path: Path) -> None:
    url = valkey.fresh_url()
    with running(tmp_path, url, FLASK_APP="celerypoolapp", NIGHTSHIFT_STOP_GRACE="1") as system:
        system.web()
        worker = system.worker("--concurrency", "1")
        system.enqueue("test.nap", "long", 30)
        _until_begun(system, "long")
        assert worker.stop() == 0
        assert system.json("stats")["queues"][0]["ready"] == 1


def _until_begun(system: System, who: str) -> None:
    system.until(lambda: "begun" in system.events(who), 30, "it does not begin")
