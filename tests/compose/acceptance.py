"""Starts both Compose files for real, and checks step by step what their users rely on.

``tests/compose/run`` starts it. It exits with 0 if and only if every step passed, and always cleans up.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

from stack import ROOT, Failed, Stack, empty_file, need_engine, remove_image
from story import STEPS, Story

BROKERS = {
    "valkey": ["docker-compose.yml"],
    "rabbitmq": ["docker-compose.yml", "docker-compose.rabbitmq.yml"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build, start, use and break the stack of each compose file."
    )
    parser.add_argument("brokers", nargs="*", metavar="valkey|rabbitmq", help="default: both")
    parser.add_argument("--keep", action="store_true", help="leave the stack running when a step fails")
    options = parser.parse_args()
    for unknown in set(options.brokers) - set(BROKERS):
        parser.error(f"{unknown}: give valkey or rabbitmq")
    need_engine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` cleans up
    image = f"nightshift-shop-test:{os.getpid()}"
    begun = time.monotonic()
    failed = []
    try:
        failed = [name for name in options.brokers or BROKERS if not tell(name, image, options.keep)]
    finally:
        if not (failed and options.keep):
            remove_image(image)
    took = f"{(time.monotonic() - begun) / 60:.1f} minutes"
    print(f"\nFAILED after {took}: {', '.join(failed)}" if failed else f"\nAll of it held, in {took}.")
    sys.exit(1 if failed else 0)


def tell(name: str, image: str, keep: bool) -> bool:
    """Run the whole story on one broker; returns whether every step passed."""
    with ExitStack() as held:
        # once as a newcomer starts it, without a .env, and once with the example as it comes
        env_file = held.enter_context(empty_file()) if name == "valkey" else ROOT / ".env.example"
        stack = Stack(BROKERS[name], Path(env_file), image)
        story = Story(stack)
        print(f"\n{name}: {' + '.join(BROKERS[name])} (project {stack.project}, {stack.web})")
        try:
            for step in STEPS:
                begun = time.monotonic()
                said = step(story)
                print(f"  ok  {step.__doc__}: {said} [{time.monotonic() - begun:.1f} s]", flush=True)
        except BaseException as exc:
            _explain(stack, exc)
            if keep:
                print(f"  kept: docker-compose -p {stack.project} down -v removes it")
                held.pop_all()
            else:
                stack.remove()
            if not isinstance(exc, Exception):
                raise
            return False
        begun = time.monotonic()
        stack.remove()
        print(f"  ok  taken down, nothing left [{time.monotonic() - begun:.1f} s]")
        return True


def _explain(stack: Stack, exc: BaseException) -> None:
    print(f"  FAILED  {exc}" if isinstance(exc, Failed) else "  FAILED  " + traceback.format_exc())
    print(stack.compose("ps", "-a", check=False))
    print(stack.compose("logs", "--no-color", "--tail", "40", check=False, timeout=60), flush=True)


if __name__ == "__main__":
    main()
