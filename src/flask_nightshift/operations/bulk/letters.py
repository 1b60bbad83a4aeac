"""Portions of bulk actions on dead letters."""

from __future__ import annotations

from collections import Counter

from ... import dead_letters
from ...dead_letters import Filters, Status, claims, portions
from ...domain.recording import OFF
from ...services import Services
from ...store.bulk_actions import Position, Progress
from .portion import Portion, restored

SECONDS = 15.0
"""Maximum seconds for the transaction of a portion."""
BLOCKED = 3.0
"""Seconds until the next look at a letter that somebody replays now."""
_AGAIN = ("already replayed", "discarded", "it is being replayed")
_LONGEST_REASON = 100


def extent(services: Services, filters: Filters, *, force: bool) -> tuple[int, Position | None]:
    """The number of dead letters that meet ``filters``, and the last of them by time and id."""
    count, last = portions.extent(services.store, filters, _among(force=force))
    return count, Position(*last) if last is not None else None


def carry_out(portion: Portion) -> None:
    """Replay or discard the next letters."""
    action, store = portion.action, portion.services.store
    filters = restored(Filters, action.filters)
    force = bool(action.options.get("force"))
    if action.last is None:
        portion.finish_alone(Progress(None, 0, {}, ended=True, rest=0.0))
        return
    reached = _key(action.reached) if action.reached else None
    found = portions.following(store, filters, _among(force=force), reached, _key(action.last), portion.size)
    if found.blocked:
        claims.take_back(store)
    if action.action == "replay":
        _replay(portion, found, force=force)
    else:
        _discard(portion, found)


def _replay(portion: Portion, found: portions.Portion, *, force: bool) -> None:
    services, options = portion.services, portion.action.options
    services.broker.health()  # so that the outbox does not fill while the broker is away
    found, done, why = _replay_alone(portion, found, force=force)
    others = [each for each in found.letters if not portions.needs_its_own(each)]
    portion.claim.renew()
    with services.store.begin(timeout=SECONDS) as connection:
        rows, skipped = portions.replay(
            connection,
            others,
            _among(force=force),
            relay=portion.relay.name,
            queue=options.get("queue"),
            force=force,
            recorded=services.settings.history != OFF,
        )
        why.update(map(_general, skipped.values()))
        portion.finish(connection, _progress(portion, found, len(rows), why, counted=done))
    portions.tell_replayed(rows)
    if rows:
        portion.relay.publish(rows)  # what it cannot publish now, it leaves to any relay


def _replay_alone(
    portion: Portion, found: portions.Portion, *, force: bool
) -> tuple[portions.Portion, int, Counter[str]]:
    """Replay letters one by one, each with a claim, for as long as a portion may take.

    Returns the portion without what follows the last of them. Each is counted when it is marked, so a worker that
    takes this over neither replays nor counts it again.
    """
    alone = [each.letter.id for each in found.letters if portions.needs_its_own(each)]
    if not alone:
        return found, 0, Counter()
    services, met = portion.services, 0

    def one_more(done: int, _: int) -> None:
        nonlocal met
        met = done

    result = dead_letters.replay(
        services.store,
        services.publishing,
        Filters(ids=tuple(alone)),
        force=force,
        queue=portion.action.options.get("queue"),
        locks=services.locks,
        recorded=services.settings.history != OFF,
        noted=portion.claim.count,
        progress=one_more,
        stopped=lambda: met > 0 and portion.claim.over,
    )
    if result.left:
        found = found.before(alone[-result.left])
    return found, len(result.ids), Counter(map(_general, result.skipped.values()))


def _discard(portion: Portion, found: portions.Portion) -> None:
    with portion.services.store.begin(timeout=SECONDS) as connection:
        count, skipped = portions.discard(connection, found.letters, _among(force=False))
        why = Counter(map(_general, skipped.values()))
        portion.finish(connection, _progress(portion, found, count, why))


def _progress(
    portion: Portion, found: portions.Portion, done: int, why: Counter[str], *, counted: int = 0
) -> Progress:
    reached = Position(*found.reached) if found.reached is not None else None
    rest = (done + counted) / portion.action.rate
    if found.blocked and reached is None:
        rest = BLOCKED
    return Progress(reached, done, why, ended=found.ended, rest=rest)


def _general(reason: str) -> str:
    """A reason without what differs from letter to letter."""
    if reason.startswith(_AGAIN):
        return portions.MOVED_ON
    if "holds its lock" in reason:
        return "it is unique, and another job holds its lock"
    return reason[:_LONGEST_REASON]


def _among(*, force: bool) -> tuple[Status, ...]:
    return (Status.WAITING, Status.DISCARDED) if force else (Status.WAITING,)


def _key(position: Position) -> portions.Key:
    assert position.at is not None  # noqa: S101 - each letter has a time
    return portions.Key(position.at, position.id)


__all__ = ["carry_out", "extent"]
