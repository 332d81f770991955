"""A folder of runs in a browser: what is served, and what is not."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import poise
from poise.cli.main import main
from poise.engine.lock import locked
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.watch.pages import compare_page, over_each_other
from poise.watch.runs import folders_in, runs_in
from poise.watch.server import Server

EVIL = "a <script>x&y"
TINY: dict[str, Any] = {
    "search.epochs": 2, "search.images_per_half": 64, "search.batch_size": 32, "space.channels": 2, "space.cells": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("watched")
    form: dict[str, Any] = {"space": "nasbench201", "preset": "demo", "device": "cpu"}
    poise.search("digits", method="darts", out=root / "runs" / "first", settings=TINY, **form)
    poise.search("digits", method="fair-darts", out=root / "runs" / EVIL, settings=TINY | {"search.epochs": 3}, **form)
    shutil.copytree(root / "runs" / "first", root / "runs" / "deep" / "stopped")
    (root / "runs" / "deep" / "stopped" / "genotype.json").unlink()
    (root / "secret.txt").write_text("secret")
    (root / "runs" / "first" / "secret.txt").write_text("secret")
    return root / "runs"


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    with Server(runs, 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def get(server: Server, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_the_list_has_every_run_and_how_it_does(runs: Path, server: Server) -> None:
    found = {run.name: run for run in runs_in(runs)}
    assert list(found) == [EVIL, "deep/stopped", "first"]
    assert (found["first"].state, found["first"].progress) == ("finished", "2 of 2 epochs")
    assert found["first"].metric.endswith("search accuracy")
    assert found["deep/stopped"].state == "stopped"
    with locked(runs / "deep" / "stopped"):
        assert {run.name: run.state for run in runs_in(runs)}["deep/stopped"] == "running"
    status, text = get(server, "/")
    assert status == 200
    assert "3 runs in runs, none of them running." in text
    assert 'href="/runs/a%20%3Cscript%3Ex%26y/report.html"' in text
    assert "<script>x" not in text
    assert "a &lt;script&gt;x&amp;y" in text


def test_a_run_s_page_is_its_own(runs: Path, server: Server) -> None:
    page = (runs / "first" / "report.html").read_text()
    assert get(server, "/runs/first/report.html") == (200, page)
    assert get(server, "/runs/a%20%3Cscript%3Ex%26y/report.html")[0] == 200
    assert get(server, "/runs/first/report.html", f"localhost:{server.server_port}")[0] == 200
    assert get(server, "/runs/first/report.html", method="HEAD") == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/first/secret.txt", "/runs/first/config.yaml", "/runs/../secret.txt", "/runs/first/../../secret.txt",
        "/runs/%2e%2e/secret.txt", "/runs/..%2fsecret.txt", "//etc/passwd", "/etc/passwd", "/runs//report.html",
        "/runs/first/../first/report.html", "/runs/first%00/report.html", "/runs/nothing/report.html",
        "/runs/first", "/runs/first/", "first/report.html",
        "/runs/first/report.html/..", "/first/report.html", "/report.html",
    ],
)  # fmt: skip
def test_nothing_else_is(server: Server, path: str) -> None:
    status, text = get(server, path)
    assert status == 404
    assert "secret\n" not in text
    assert len(text.splitlines()) == 1


def test_only_browsers_of_this_machine_are_answered(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0"):
        assert get(server, "/", host)[0] == 403, host
    assert get(server, "/", method="POST")[0] == 501


def test_runs_are_compared(runs: Path, server: Server) -> None:
    status, text = get(server, "/compare?run=first&run=a+%3Cscript%3Ex%26y")
    assert status == 200
    assert "method.relaxation.kind" in text
    assert "<td>softmax</td><td>sigmoid</td>" in text
    assert "data.source" not in text, "the same in both"
    assert "<script>x" not in text
    panels = over_each_other({name: RunFolder(path) for name, path in folders_in(runs).items() if "/" not in name})
    loss = next(panel for panel in panels if panel.title == "loss, train")
    assert {name: len(points) for name, points in loss.curves.items()} == {"first": 2, EVIL: 3}
    assert "accuracy, search (%)" in [panel.title for panel in panels], "a share is read in percent"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "2 to 10 runs can be compared, got 0"),
        ("run=first", "2 to 10 runs can be compared, got 1"),
        ("run=first&run=first", "2 to 10 runs can be compared, got 1"),
        ("run=first&run=frist", "unknown run 'frist'; did you mean 'first'?"),
        ("run=first&run=../secret.txt", "unknown run '../secret.txt'"),
    ],
)
def test_what_cannot_be_compared_is_said(server: Server, query: str, message: str) -> None:
    status, text = get(server, f"/compare?{query}")
    assert status == 404
    assert message in text


def test_many_runs_are_too_many(runs: Path, tmp_path: Path) -> None:
    for number in range(11):
        ignored = shutil.ignore_patterns("figures", "*.safetensors")
        shutil.copytree(runs / "first", tmp_path / str(number), ignore=ignored)
    with pytest.raises(Refused, match="got 11"):
        compare_page(tmp_path, [str(number) for number in range(11)])
    assert compare_page(tmp_path, [str(number) for number in range(10)]).title.startswith("0, 1, 2")


def test_bad_input_is_one_line(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["watch", str(tmp_path / "nowhere")], "there is no folder"),
        (["watch", str(tmp_path), "--port", str(server.server_port)], "choose another one with --port"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert message in said.err
        assert len(said.err.splitlines()) == 1


def test_it_ends_quietly(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["watch", str(tmp_path), "--port", "0"])
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    assert "is shown at http://127.0.0.1:" in said.out
