"""Serves the pages of a folder of runs, to browsers of this machine alone."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from poise.errors import Refused, printable
from poise.report.page import FILE, Page
from poise.watch.pages import compare_page, list_page
from poise.watch.runs import folders_in

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""What a browser of this machine may call it: a page from elsewhere that leads here under another name is refused."""


class Server(ThreadingHTTPServer):
    """Serves the runs below ``root`` on the loopback address.

    Raises:
        Refused: the folder is not there, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, root: Path, port: int) -> None:
        if not root.is_dir():
            raise Refused(f"there is no folder {root}")
        self.root = root
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise Refused(f"cannot serve on port {port}: {error.strerror}; choose another one with --port") from None

    @property
    def url(self) -> str:
        """Where it can be looked at."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


class Handler(BaseHTTPRequestHandler):
    """Answers with a list, a comparison, or a run's page. Only files by the name of `FILE` of runs are read."""

    server: Server
    server_version, sys_version = "poise", ""

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        if host not in [f"{name}:{self.server.server_port}" for name in NAMES]:
            self._send(HTTPStatus.FORBIDDEN, "this is for browsers of this machine\n", "text/plain")
            return
        address = urlsplit(self.path)
        try:
            if address.path == "/":
                self._page(lambda: list_page(self.server.root))
            elif address.path == "/compare":
                names = parse_qs(address.query, max_num_fields=100).get("run", [])
                self._page(lambda: compare_page(self.server.root, names))
            else:
                self._run(unquote(address.path))
        except Refused as error:
            self._send(HTTPStatus.NOT_FOUND, f"{error}\n", "text/plain")
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, "that is no address of a page\n", "text/plain")

    do_HEAD = do_GET

    def _page(self, make: Callable[[], Page]) -> None:
        self._send(HTTPStatus.OK, make().html(), "text/html")

    def _run(self, path: str) -> None:
        """The page of a run; ``path`` names it, and is never opened itself."""
        name = path.removeprefix("/runs/").removesuffix(f"/{FILE}")
        folder = folders_in(self.server.root).get(name) if path == f"/runs/{name}/{FILE}" else None
        if folder is None:
            raise Refused(f"there is no page {printable(path)[:200]}")
        try:
            content = (folder / FILE).read_bytes()
        except OSError:
            raise Refused(f"{name} has no page yet; it gets one after its first epoch, or by poise show") from None
        self._send(HTTPStatus.OK, content, "text/html")

    def _send(self, status: HTTPStatus, content: str | bytes, kind: str) -> None:
        body = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
