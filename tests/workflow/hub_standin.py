"""A stand-in for the Hugging Face Hub on this machine: what `huggingface_hub` asks of it to make a repository, commit
there, and download."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

TOKEN = "hf_standin"
LARGE = ".safetensors"
"""What goes by the storage of large files."""


@dataclass
class Standin:
    """Repositories, each a list of commits ``(message, files)``; and what was asked for."""

    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: int = 0
    url: str = ""

    def files(self, repository: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """A commit's name and files."""
        commits = self.commits[repository]
        if revision == "main":
            index = len(commits) - 1
        elif revision in self.tags:
            index = self.tags[revision]
        else:
            index = next((i for i in range(len(commits)) if _oid(i) == revision), -1)
        return (_oid(index), commits[index][1]) if index >= 0 else None


def _oid(index: int) -> str:
    return hashlib.sha1(str(index).encode()).hexdigest()


@contextmanager
def standin(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[Standin]:
    """A stand-in that `huggingface_hub` takes for the Hub, logged in, with a cache of its own."""
    hub = Standin()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Standin
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, value: Any = None, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self._answer(404, {"error": code}, X_Error_Code=code)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        if hub.fails:
            return self._answer(hub.fails, {"error": "it rains"})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository, revision, name = found.groups()
            if repository not in hub.commits or (hub.private[repository] and not self._allowed()):
                return self._missing("RepoNotFound")
            commit = hub.files(repository, revision)
            if commit is None:
                return self._missing("RevisionNotFound")
            oid, files = commit
            if name not in files:
                return self._answer(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
            content = files[name]
            return self._answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=oid)
        return self._missing("RepoNotFound")

    def do_PUT(self) -> None:
        self.hub.stored[self.path.rpartition("/")[2]] = self._body()
        self._answer(200, {})

    def do_POST(self) -> None:
        hub, path, body = self.hub, self.path.partition("?")[0], self._body()
        hub.asked.append(f"POST {path}")
        if not self._allowed():
            return self._answer(401, {"error": "Invalid credentials"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name.startswith("stranger/"):
                return self._answer(403, {"error": "You don't have the rights"})
            if name in hub.commits:
                return self._answer(409, {"error": "exists", "url": f"{hub.url}/{name}"})
            hub.commits[name], hub.private[name] = (
                [],
                asked.get("visibility") == "private" or bool(asked.get("private")),
            )
            return self._answer(200, {"url": f"{hub.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._validated(json.loads(body)["content"])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.url}/store/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self._answer(200, {"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self._committed(found[1], [json.loads(line) for line in body.splitlines()])
        return self._missing("RepoNotFound")

    def _validated(self, content: str) -> None:
        """Of the Hub's rules those that a card could break."""
        data = yaml.safe_load(content.split("---")[1])
        wrong = [
            name for name in ("library_name", "license", "pipeline_tag") if not isinstance(data.get(name, ""), str)
        ]
        wrong += [
            name for name in ("tags", "datasets") if not all(isinstance(each, str) for each in data.get(name, []))
        ]
        for model in data.get("model-index", []):
            for result in model["results"]:
                if not {"type", "name"} <= set(result["dataset"]) or "type" not in result["task"]:
                    wrong.append("model-index")
                if not all(isinstance(m["value"], int | float) and m["type"] for m in result["metrics"]):
                    wrong.append("metrics")
        answer = {"errors": [{"message": name} for name in wrong], "warnings": []}
        self._answer(400 if wrong else 200, answer)

    def _committed(self, repository: str, lines: list[dict[str, Any]]) -> None:
        commits = self.hub.commits[repository]
        files, message = dict(commits[-1][1]) if commits else {}, ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        commits.append((message, files))
        oid = _oid(len(commits) - 1)
        url = f"{self.hub.url}/{repository}/commit/{oid}"
        self._answer(200, {"commitUrl": url, "commitOid": oid, "pullRequestUrl": None})
