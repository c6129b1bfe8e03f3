"""The team's Label Studio server, by its SDK; plain HTTP where the SDK has no call (health, uploads).

The SDK is imported when a call is made: it takes seconds. Every failure comes out as a LabelStudioError that says what
to do.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from trugrade_core.errors import LabelStudioError
from trugrade_core.workspace import Workspace, write_atomic

SECTION = "label_studio"
URL, TOKEN = "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"
TIMEOUT_S = 60.0
PAGE = 500
UPLOADED_AT_ONCE = 50


# --- where it is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connection:
    """`document_root` is the folder of this machine from which the server reads local files, '' when it reads none."""

    url: str
    token: str
    document_root: str = ""


def read_connection(ws: Workspace) -> Connection | None:
    """The environment's ($LABEL_STUDIO_URL, $LABEL_STUDIO_API_KEY), else the workspace's; None when nobody has said."""
    kept = _secrets(ws).get(SECTION, {})
    url, token = os.environ.get(URL) or kept.get("url"), os.environ.get(TOKEN) or kept.get("token")
    return Connection(url.rstrip("/"), token, kept.get("document_root", "")) if url and token else None


def keep_connection(ws: Workspace, connection: Connection) -> None:
    """Write it to WORKSPACE/secrets.toml, readable by its owner alone; other sections stay."""
    _secrets(ws)  # a file that cannot be read is not written over
    path = ws.root / "secrets.toml"
    others = re.sub(rf"(?ms)^\[{SECTION}\][^\n]*\n.*?(?=^\[|\Z)", "", path.read_text() if path.exists() else "").strip()
    # A JSON string is a TOML basic string.
    own = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in vars(connection).items() if value]
    text = "\n".join([*([others, ""] if others else []), f"[{SECTION}]", *own, ""])
    mask = os.umask(0o077)
    try:
        write_atomic(path, text)
        path.chmod(0o600)
    finally:
        os.umask(mask)


def _secrets(ws: Workspace) -> dict[str, dict[str, str]]:
    path = ws.root / "secrets.toml"
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise LabelStudioError(f"cannot be read ({e})", where=str(path), code="label_studio.secrets",
                               what_to_do="Mend or remove it, then: trugrade label connect URL") from e  # fmt: skip
    return {name: dict(values) for name, values in found.items() if isinstance(values, dict)}


def is_up(url: str) -> bool:
    """Whether a Label Studio answers there."""
    try:
        return bool(httpx.get(f"{url}/health", timeout=5).json().get("status") == "UP")
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


# --- talking to it ------------------------------------------------------------------------------------------------


class Server:
    """One server with one person's token."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.url = connection.url

    @cached_property
    def _sdk(self) -> Any:
        import label_studio_sdk

        sdk: Any = label_studio_sdk.LabelStudio
        with self._said("connecting"):
            # No connection is kept between calls: nobody says when the last one was made.
            client = httpx.Client(
                timeout=TIMEOUT_S, follow_redirects=True, limits=httpx.Limits(max_keepalive_connections=0)
            )
            return sdk(base_url=self.url, api_key=self.connection.token, httpx_client=client)

    @contextlib.contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except httpx.HTTPError as e:
            raise LabelStudioError(f"does not answer while {doing} ({type(e).__name__})", where=self.url,
                                   code="label_studio.down",
                                   what_to_do="Is the server up? Start one with: trugrade label serve") from e  # fmt: skip
        except ApiError as e:
            raise self._refused(doing, e.status_code or 0, e.body) from e

    def _refused(self, doing: str, code: int, body: Any) -> LabelStudioError:
        detail = body.get("validation_errors") or body.get("detail") if isinstance(body, dict) else body
        if code in (401, 403):
            return LabelStudioError("refuses the token", where=self.url, code="label_studio.token",
                                    what_to_do="Take a new one from Account & Settings, then: trugrade label connect URL --token TOKEN")  # fmt: skip
        if code == 404:
            return LabelStudioError(f"has not got it any more, {doing} ({detail})", where=self.url,
                                    code="label_studio.gone",
                                    what_to_do="Was the project or task deleted there? trugrade label push NAME --new-project makes another.")  # fmt: skip
        return self._odd(f"answered {code} while {doing}: {str(detail)[:500]}")

    def _odd(self, what: str) -> LabelStudioError:
        return LabelStudioError(what, where=self.url, code="label_studio.refused",
                                what_to_do="Look into the server's log, then do it again: it goes on where it ended.")  # fmt: skip

    def versions(self) -> dict[str, str]:
        """{"server", "sdk", "user"}. Raises LabelStudioError: it is down, or refuses the token."""
        with self._said("saying its version"):
            found, user = self._sdk.versions.get(), self._sdk.users.whoami()
        return {"server": str(found.release), "sdk": importlib.metadata.version("label-studio-sdk"), "user": user.email}

    # --- projects -------------------------------------------------------------------------------------------------

    def create_project(self, title: str, xml: str, instructions: str) -> int:
        with self._said("making a project"):
            made = self._sdk.projects.create(
                title=title.ljust(3, ".")[:50], label_config=xml, expert_instruction=instructions, show_instruction=True,
                description="Made by TruGrade lab", show_skip_button=True, enable_empty_annotation=True,
            )  # fmt: skip
        return int(made.id)

    def label_config(self, project: int) -> str:
        with self._said(f"opening project {project}"):
            return str(self._sdk.projects.get(project).label_config)

    def update_project(self, project: int, xml: str, instructions: str) -> None:
        with self._said(f"changing project {project}"):
            self._sdk.projects.update(project, label_config=xml, expert_instruction=instructions, show_instruction=True)

    def serve_folder(self, project: int, folder: Path) -> None:
        """Let the server hand out the files below `folder` to the project's tasks."""
        with self._said("making a local storage"):
            known = self._sdk.import_storage.local.list(project=project)
            if not any(storage.path == str(folder) for storage in known):
                self._sdk.import_storage.local.create(
                    project=project, path=str(folder), use_blob_urls=True, title="TruGrade images"
                )

    def upload(self, project: int, files: Sequence[Path]) -> list[str]:
        """The address of each picture on the server, in their order."""
        found: list[str] = []
        for start in range(0, len(files), UPLOADED_AT_ONCE):
            found += self._upload(project, files[start : start + UPLOADED_AT_ONCE])
        return found

    def _upload(self, project: int, files: Sequence[Path]) -> list[str]:
        with self._said("sending pictures"), contextlib.ExitStack() as stack:
            sent = [(f"file{n}", (path.name, stack.enter_context(path.open("rb")))) for n, path in enumerate(files)]
            answer = httpx.post(
                f"{self.url}/api/projects/{project}/import", params={"commit_to_project": "false"}, files=sent,
                headers={"Authorization": self._authorization()}, timeout=10 * TIMEOUT_S,
            )  # fmt: skip
            if answer.is_error:
                raise self._refused("sending pictures", answer.status_code, answer.text[:500])
            ids = answer.json().get("file_upload_ids") or []
            if len(ids) != len(files):
                raise self._odd(f"took {len(ids)} of {len(files)} pictures")
            stored = [str(self._sdk.files.get(id).file) for id in ids]
        by_end = {path.name: address for path in files for address in stored if address.endswith(path.name)}
        return [f"/data/{by_end[path.name]}" for path in files]

    def _authorization(self) -> str:
        headers: dict[str, str] = self._sdk._client_wrapper.get_headers()
        return headers["Authorization"]

    # --- tasks ----------------------------------------------------------------------------------------------------

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Ids of the new tasks, in their order."""
        with self._said("making tasks"):
            made = self._sdk.projects.import_tasks(project, request=list(tasks), return_task_ids=True)
        ids = [int(id) for id in made.task_ids or ()]
        if len(ids) != len(tasks):
            raise self._odd(f"made {len(ids)} of {len(tasks)} tasks")
        return ids

    def task_ids(self, project: int) -> dict[int, dict[str, Any]]:
        """{task: its meta} of every task there."""
        with self._said(f"listing the tasks of project {project}"):
            pages = self._sdk.tasks.list(project=project, page_size=PAGE, fields="task_only", include="id,meta")
            return {int(task.id): dict(task.meta or {}) for task in pages}

    def annotated_tasks(self, project: int, since: datetime | None = None) -> Iterator[dict[str, Any]]:
        """{"id", "updated_at", "annotations": [as the server has them]} of tasks that were changed after `since`."""
        items = [] if since is None else [
            {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime",
             "value": since.isoformat().replace("+00:00", "Z")}
        ]  # fmt: skip
        query = json.dumps({"filters": {"conjunction": "and", "items": items}}) if items else None
        with self._said(f"reading project {project}"):
            for task in self._sdk.tasks.list(project=project, page_size=100, fields="all", query=query):
                yield {"id": int(task.id), "updated_at": task.updated_at, "annotations": [_plain(a) for a in task.annotations or ()]}  # fmt: skip

    def replace_prediction(self, task: int, result: list[dict[str, Any]], model: str) -> None:
        with self._said(f"sending suggestions for task {task}"):
            for old in self._sdk.predictions.list(task=task):
                self._sdk.predictions.delete(old.id)
            if result:
                self._sdk.predictions.create(task=task, result=result, model_version=model)

    def delete_task(self, task: int) -> None:
        with self._said(f"deleting task {task}"):
            self._sdk.tasks.delete(str(task))

    def people(self) -> dict[int, str]:
        """{user id: name or address}."""
        with self._said("listing its people"):
            return {
                int(user.id): " ".join(filter(None, (user.first_name, user.last_name))) or str(user.email)
                for user in self._sdk.users.list()
            }

    def task_address(self, project: int, task: int) -> str:
        return f"{self.url}/projects/{project}/data?task={task}"


def _plain(annotation: Any) -> dict[str, Any]:
    found: dict[str, Any] = annotation if isinstance(annotation, dict) else annotation.model_dump(mode="json")
    return found
