"""A Label Studio of the team's own on this machine, for a team that has none: one server a workspace, on loopback.

It lives in an environment of its own (`make label-studio`: it pins other packages than the lab), keeps its data in
`WORKSPACE/label-studio/`, reads the workspace's pictures in place, and tells nobody outside of this machine anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trugrade_core.annotate.label_studio.client import URL, Connection, is_up, keep_connection, read_connection
from trugrade_core.errors import LabelStudioError
from trugrade_core.workspace import Workspace, locked, read_json, write_json

PROJECT = Path(__file__).resolve().parents[3]
PROGRAM = "TRUGRADE_LABEL_STUDIO"
"""Environment variable with the path of the program `label-studio`, where it is not the project's own."""
PORT = 8080
USER = "lab@example.org"
STOP_LIMIT_S = 10.0
SILENT = {
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
}
"""With all of them set, server and page talk to no other machine."""

State = Literal["off", "starting", "up"]

_started: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started, by their id: it is their parent, and has to take note of their end."""


@dataclass(frozen=True)
class Served:
    """`reason` says why a server that should run does not."""

    state: State
    url: str = ""
    user: str = ""
    password: str = ""
    log: str = ""
    reason: str = ""


def program() -> Path:
    """The server's program. Raises LabelStudioError saying how to get it."""
    asked = os.environ.get(PROGRAM)
    path = Path(asked) if asked else PROJECT / ".venv-label-studio" / "bin" / "label-studio"
    if not path.is_file():
        raise LabelStudioError("Label Studio is not set up on this machine", where=str(path), code="label_studio.missing",
                               what_to_do=f"In the project's folder: make label-studio (about 1 GB), or set ${PROGRAM}.")  # fmt: skip
    return path


def serve(ws: Workspace, *, port: int = PORT) -> Served:
    """Start the workspace's server unless it runs, and connect the lab to it. It is up after half a minute, at its first
    start after one or two (`served` says). Raises LabelStudioError: the lab is connected to another server, this one is
    not set up, or the port is taken."""
    folder = _folder(ws)
    with locked(folder / ".lock"):
        now = served(ws)
        if now.state != "off":
            return now
        kept = _kept(ws) or {"password": secrets.token_urlsafe(12), "token": secrets.token_hex(20), "user": USER}
        _check_unconnected(ws, kept)
        path = program()
        _check_free(port)
        words = [str(path), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                words, cwd=folder, env=_environment(ws, folder, kept), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        _started[process.pid] = process
        url = f"http://127.0.0.1:{port}"
        mask = os.umask(0o077)
        try:
            write_json(folder / "server.json", {**kept, "pid": process.pid, "url": url, "started": time.time()})
        finally:
            os.umask(mask)
        keep_connection(ws, Connection(url, kept["token"], str(ws.root.resolve())))
    return served(ws)


def served(ws: Workspace) -> Served:
    """How the workspace's own server stands."""
    kept = _kept(ws)
    if kept is None:
        return Served("off")
    log = str(_folder(ws) / "log.txt")
    if not _is_ours(kept["pid"]):
        return Served("off", log=log, reason=_last_words(Path(log)) if kept.get("pid") else "")
    state: State = "up" if is_up(kept["url"]) else "starting"
    return Served(state, kept["url"], kept["user"], kept["password"], log)


def wait_until_up(ws: Workspace, seconds: float) -> Served:
    """Raises LabelStudioError when it ends, or is not up by then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = served(ws)
        if now.state == "up":
            return now
        if now.state == "off":
            raise LabelStudioError(f"the server ended: {now.reason or 'it said nothing'}", where=now.log, code="label_studio.ended",
                                   what_to_do="Read its log.")  # fmt: skip
        time.sleep(0.5)
    raise LabelStudioError(f"the server is not up after {seconds:.0f} s", where=served(ws).log, code="label_studio.slow",
                           what_to_do="Look again in a minute: trugrade label status")  # fmt: skip


def stop(ws: Workspace) -> bool:
    """End the workspace's server; False when it did not run."""
    kept = _kept(ws)
    if kept is None or not _is_ours(kept["pid"]):
        return False
    os.killpg(kept["pid"], signal.SIGTERM)
    end = time.monotonic() + STOP_LIMIT_S
    while _is_ours(kept["pid"]) and time.monotonic() < end:
        time.sleep(0.1)
    if _is_ours(kept["pid"]):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(kept["pid"], signal.SIGKILL)
    if child := _started.pop(kept["pid"], None):
        child.wait()
    write_json(_folder(ws) / "server.json", {**kept, "pid": 0})
    return True


def connection(ws: Workspace) -> Connection:
    """Where the team's server is. Raises LabelStudioError when nobody has said."""
    found = read_connection(ws)
    if found is None:
        raise LabelStudioError("the lab is not connected to a Label Studio", where=str(ws.root), code="label_studio.unconnected",
                               what_to_do="trugrade label connect URL --token TOKEN, or start one: trugrade label serve")  # fmt: skip
    return found


def _folder(ws: Workspace) -> Path:
    path = ws.root / "label-studio"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _kept(ws: Workspace) -> dict[str, Any] | None:
    path = ws.root / "label-studio" / "server.json"
    return dict(read_json(path)) if path.exists() else None


def _environment(ws: Workspace, folder: Path, kept: dict[str, Any]) -> dict[str, str]:
    """Secrets go by the environment: anybody on the machine can read a command line."""
    return {
        **os.environ,
        **SILENT,
        "LABEL_STUDIO_USERNAME": kept["user"],
        "LABEL_STUDIO_PASSWORD": kept["password"],
        "LABEL_STUDIO_USER_TOKEN": kept["token"],
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_BASE_DATA_DIR": str((folder / "data").resolve()),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(ws.root.resolve()),
    }


def _check_unconnected(ws: Workspace, kept: dict[str, Any]) -> None:
    known = read_connection(ws)
    if known is not None and known.url != kept.get("url"):
        raise LabelStudioError(f"the lab is connected to {known.url}, whose token would be lost", where=str(ws.root),
                               code="label_studio.connected",
                               what_to_do=f"Start that server again, or take it out of secrets.toml (or ${URL}) first.")  # fmt: skip


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as e:
            raise LabelStudioError(f"port {port} is taken", where="127.0.0.1", code="label_studio.port",
                                   what_to_do="Choose another: trugrade label serve --port N") from e  # fmt: skip


def _is_ours(pid: int) -> bool:
    """Whether the process lives and is a Label Studio: ids are given out again."""
    if not pid:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"label-studio" in words and not dead


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1][:300] if lines else ""
