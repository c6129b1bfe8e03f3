"""The app's own routes, all of them read-only: pictures by their digest, and TensorBoard under the same origin.

/lab/image/{sha}      what a browser can show: a rendition where it cannot show the bytes (TIFF, 16 bit, CMYK), else the bytes
/lab/original/{sha}   the bytes exactly as they were given
/lab/thumb/{sha}      a small picture
/lab/half/{sha}       a smaller whole of a picture too large for a browser
/lab/crop/{sha}?x=&y=&w=&h=   native pixels of a window of it
/lab/example/{task}   what a task looks at, drawn by the generator
/lab/plotly.js        the chart library, from the installed package
/lab/tb/…             TensorBoard, once a page has started it

A path never comes from the URL: a digest is looked up in the workspace's store. Pictures never change under their digest,
so browsers keep them for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from app import state, uploads
from trugrade_core.errors import TruGradeError, UsageError
from trugrade_core.monitor.tensorboard_server import TensorBoardServer
from trugrade_core.workspace import Workspace

FOR_GOOD = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
# Headers that belong to one connection, or that httpx has already undone (it unpacks the content).
ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length", "server", "date"}


def image(request: Request) -> Response:
    from trugrade_core.data import images

    path = state.workspace().find_image(request.path_params["sha"])
    if path is None:
        return _missing(request)
    try:
        made = images.rendition(path)
    except TruGradeError as e:
        return Response(str(e), 422, media_type="text/plain")
    return FileResponse(path, headers=FOR_GOOD) if made is None else Response(made[0], 200, FOR_GOOD, made[1])


def original(request: Request) -> Response:
    path = state.workspace().find_image(request.path_params["sha"])
    return _missing(request) if path is None else FileResponse(path, headers=FOR_GOOD, filename=path.name)


def thumb(request: Request) -> Response:
    from trugrade_core.data import images

    return _made(request, images.thumbnail)


def half(request: Request) -> Response:
    from trugrade_core.data import large

    return _made(request, large.smaller)


def _made(request: Request, make: Callable[[Workspace, str], Path]) -> Response:
    """A file made of the picture and kept."""
    ws, sha = state.workspace(), request.path_params["sha"]
    if ws.find_image(sha) is None:
        return _missing(request)
    try:
        return FileResponse(make(ws, sha), headers=FOR_GOOD)
    except TruGradeError as e:
        return Response(str(e), 422, media_type="text/plain")


def crop(request: Request) -> Response:
    from trugrade_core.data import large

    ws, sha = state.workspace(), request.path_params["sha"]
    if ws.find_image(sha) is None:
        return _missing(request)
    try:
        x, y, width, height = (int(request.query_params[name]) for name in ("x", "y", "w", "h"))
    except (KeyError, ValueError):
        return Response("x, y, w and h are needed, in whole pixels", 400, media_type="text/plain")
    try:
        return Response(large.crop(ws, sha, x, y, width, height), headers=FOR_GOOD, media_type="image/png")
    except TruGradeError as e:
        return Response(str(e), 400 if e.code == "image.window" else 422, media_type="text/plain")


def example(request: Request) -> Response:
    from trugrade_core.workflows.examples import example as made

    try:
        path = made(state.workspace(), request.path_params["task"])
    except UsageError as e:
        return Response(str(e), 404, media_type="text/plain")
    return FileResponse(path, headers=FOR_GOOD)


def chart_library(_request: Request) -> Response:
    import plotly

    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(path, headers=FOR_GOOD, media_type="text/javascript")


def _missing(request: Request) -> Response:
    return Response(f"no image {request.path_params['sha'][:80]} in this workspace", 404, media_type="text/plain")


_board: list[TensorBoardServer] = []
_board_lock = threading.Lock()


def show_in_tensorboard(ws: Workspace, run_ids: list[str]) -> None:
    """Start the app's one TensorBoard unless it runs (seconds), and let it show exactly these runs."""
    with _board_lock:
        if _board and _board[0].ws != ws:
            _board.pop().stop()
        if not _board:
            _board.append(TensorBoardServer(ws))
        _board[0].start()
        _board[0].show(run_ids)


async def tensorboard(request: Request) -> Response:
    if not request.url.path.startswith("/lab/tb/"):
        return RedirectResponse("/lab/tb/")
    if not (_board and _board[0].alive):
        return Response("TensorBoard is not running; open it from the Monitor page", 503, media_type="text/plain")
    asked = {k: v for k, v in request.headers.items() if k not in ("host", "cookie", "accept-encoding")}
    url = f"http://127.0.0.1:{_board[0].port}{request.url.path}"
    async with httpx.AsyncClient(timeout=30) as http:
        try:
            got = await http.request(
                request.method,
                url,
                params=str(request.query_params),
                headers=asked,
                content=await request.body(),
            )
        except httpx.TransportError as e:
            return Response(f"TensorBoard does not answer ({type(e).__name__}); reload the page", 503)
    headers = {k: v for k, v in got.headers.items() if k.lower() not in ONE_HOP}
    return Response(got.content, got.status_code, headers)


@contextlib.asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[dict[str, Any]]:
    # A workspace that cannot be opened is said on every page; the app starts all the same.
    with contextlib.suppress(TruGradeError):
        await asyncio.to_thread(lambda: uploads.clear(state.workspace()))
    try:
        yield {}
    finally:
        for board in _board:
            await asyncio.to_thread(board.stop)


ROUTES = [
    Route("/lab/image/{sha}", image),
    Route("/lab/original/{sha}", original),
    Route("/lab/thumb/{sha}", thumb),
    Route("/lab/half/{sha}", half),
    Route("/lab/crop/{sha}", crop),
    Route("/lab/example/{task}", example),
    Route("/lab/plotly.js", chart_library),
    Route("/lab/tb", tensorboard),
    # TensorBoard's page asks for time series by POST; nothing of it writes.
    Route("/lab/tb/{rest:path}", tensorboard, methods=["GET", "POST"]),
]


def middleware() -> list[Middleware]:
    """Only requests addressed to this machine, or to the name that Streamlit's `browser.serverAddress` gives it."""
    hosts = {"127.0.0.1", "localhost", st.get_option("browser.serverAddress") or "localhost"}
    return [Middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts), www_redirect=False)]
