"""Lua scripts that end with an error before they touch a key that is not in their KEYS.

Serverless servers and Dragonfly refuse such keys. The server itself says which keys a command has
(``COMMAND GETKEYS``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from flask_nightshift.brokers.redis.transport import scripts
from flask_nightshift.brokers.redis.transport.scripts import Script

ALL = {name: each for name, each in vars(scripts).items() if isinstance(each, Script)}
RAN: set[str] = set()
"""The names of the scripts that ran."""
_CHECK = """
local declared, unchecked = {}, redis
for _, key in ipairs(KEYS) do declared[key] = true end
local redis = {call = function(command, ...)
  if command ~= 'TIME' then
    for _, key in ipairs(unchecked.call('COMMAND', 'GETKEYS', command, ...)) do
      if not declared[key] then error('not in KEYS: ' .. key) end
    end
  end
  return unchecked.call(command, ...)
end}
"""


@dataclass(frozen=True, slots=True)
class Checked(Script):
    """A script with the check before it."""

    text: str = ""

    @property
    def source(self) -> str:
        return self.text

    def by_hash(self, keys: Any, args: Any) -> Any:
        RAN.add(self.name)
        return Script.by_hash(self, keys, args)


def checked(name: str, source: str) -> Checked:
    text = _CHECK + source
    return Checked(name, scripts.sha_of(text), scripts.sha_of(scripts.GUARDED + text), text)


@pytest.fixture
def declared_keys(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every script of this process is checked; the names of those that ran."""
    for name, script in ALL.items():
        monkeypatch.setattr(scripts, name, checked(script.name, script.source))
    RAN.clear()
    return RAN
