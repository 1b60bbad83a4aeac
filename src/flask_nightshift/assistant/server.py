"""The server: the official SDK speaks the protocol on standard input and output, and calls the tools."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from ..domain.actor import VIEW, Actor
from ..operations.pauses import operator
from ..services import Services
from . import tools
from .strangers import NOTICE

logger = logging.getLogger("flask_nightshift.mcp")

_INSTRUCTIONS = (
    "Background jobs of a Flask app. Begin with `overview`. `jobs` lists jobs (q: state:dead task:mail.* since:2h), "
    "`job` shows one with its attempts, `dead_letters` those that failed for good. Arguments of jobs are hidden. "
) + NOTICE


def serve(services: Services, allowed: frozenset[str]) -> None:
    """Serve until standard input ends; the actor may read, and do what is ``allowed``."""
    actor = Actor(f"assistant of {operator()}"[:200], allowed | {VIEW})
    asyncio.run(_serve(server(services, actor)))


def server(services: Services, actor: Actor) -> Server[Any]:
    """The server whose tools act for ``actor``."""
    known = tools.tools(actor.permissions)

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(each) for each in known.values()])

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        found = known.get(params.name)
        if found is None:
            return _said(
                f"there is no tool {params.name[:80]!r}, or it is not allowed (flask jobs mcp --allow)",
                error=True,
            )
        try:  # in a thread, because the database and the broker may take their time
            return _said(await asyncio.to_thread(_call, services, found, params.arguments or {}, actor))
        except tools.Refused as exc:
            return _said(str(exc), error=True)
        except Exception:
            logger.exception("mcp.tool_failed", extra={"tool": found.name})
            return _said("an error of Nightshift; standard error of the server has the traceback", error=True)

    return Server(
        "flask-nightshift",
        version=version("Flask-Nightshift"),
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _call(services: Services, tool: tools.Tool, given: dict[str, Any], actor: Actor) -> str:
    with services.app.app_context():
        return tools.call(services, tool, given, actor)


async def _serve(made: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await made.run(read, write, made.create_initialization_options())


def _described(tool: tools.Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.says,
        input_schema=tool.schema,
        annotations=types.ToolAnnotations(read_only_hint=tool.reads, open_world_hint=False),
    )


def _said(text: str, *, error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=error)


__all__ = ["serve", "server"]
