"""Whole runs under faults that users meet: a judge behind a bad server, one that hangs, two runs, two interrupts."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.charter.test_run import COUNT, finish, stage_rows, start, wait_for_rows, write_recipe

KEY = "sk-only-in-the-environment-7f3a"


@dataclass
class BadServer:
    """An OpenAI-compatible judge that fails every second question once, in all the ways in turn."""

    asked: dict[bytes, int] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def turn(self, body: bytes) -> str:
        """What to do with a request."""
        ways = ("429", "500", "slow", "half", "not json", "no choices")
        with self.lock:
            times = self.asked[body] = self.asked.get(body, 0) + 1
            questions = len(self.asked)
            way = ways[questions // 2 % len(ways)] if times == 1 and questions % 2 else "answer"
            self.sent.append(way)
            return way


def handler_of(server: BadServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Says nothing."""

        def do_GET(self) -> None:
            self.answer(200, json.dumps({"data": [{"id": "judge"}]}).encode())

        def do_POST(self) -> None:
            server.keys.add(self.headers.get("Authorization", ""))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = {"A": -0.3, "B": -1.5, "yes": -3.0, "no": -4.0}
            top = [{"token": token, "logprob": value} for token, value in told.items()]
            said = {"message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
            said["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
            good = json.dumps({"choices": [said], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}).encode()
            way = server.turn(body)
            if way == "429":
                self.answer(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"})
            elif way == "500":
                self.answer(500, f'{{"error": "broken, with {KEY}"}}'.encode())
            elif way == "slow":
                time.sleep(3)
                self.close_connection = True
            elif way == "half":
                self.answer(200, good[:40], {"Content-Length": str(len(good))})
                self.close_connection = True
            else:
                self.answer(200, {"not json": b"<html>", "no choices": b"{}"}.get(way, good))

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def server() -> Iterator[tuple[BadServer, str]]:
    state = BadServer()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{listening.server_address[1]}/v1"
    listening.shutdown()
    listening.server_close()


def holding(folder: Path, text: str, since: float) -> list[Path]:
    """The files of a folder, written after a time, that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if path.stat().st_mtime >= since and text.encode() in path.read_bytes()]


def command_lines_with(text: str, seen: list[str], stop: threading.Event) -> None:
    while not stop.wait(0.2):
        for process in psutil.process_iter(["cmdline"]):
            seen += [word for word in process.info["cmdline"] or [] if text in word]


def test_a_judge_behind_a_bad_server_judges_everything_and_its_key_is_nowhere(
    tmp_path: Path, server: tuple[BadServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, address = server
    monkeypatch.setenv("CHARTER_JUDGE_KEY", KEY)
    judge: dict[str, Any] = {
        "backend": "openai",
        "model": "judge",
        "base_url": address,
        "api_key_env": "CHARTER_JUDGE_KEY",
    }
    judge |= {"prefill": "none", "timeout": 1.0, "retries": 4, "cpus": 0.1}
    recipe = write_recipe(tmp_path, "served")
    described = yaml.safe_load(recipe.read_text())
    described["models"]["judge"] = judge
    described |= {"roles": {"judge": "judge"}, "compare": {"principles": 1}, "limit": 8}
    del described["revise"]
    recipe.write_text(yaml.safe_dump(described))
    stop, seen, since = threading.Event(), list[str](), time.time()
    looking = threading.Thread(target=command_lines_with, args=(KEY, seen, stop))
    looking.start()
    status, said = finish(start("run", recipe))
    stop.set()
    looking.join()
    assert status == 0, said
    rows = stage_rows(tmp_path / "served", "03_compare")
    assert [row["index"] for row in rows] == list(range(8))
    assert all(vote["probability_a"] is not None for row in rows for vote in row["votes"])
    assert {"429", "500", "slow", "half", "not json", "no choices"} <= set(state.sent)
    assert state.keys == {f"Bearer {KEY}"}
    assert KEY not in said
    assert holding(tmp_path, KEY, 0) == []
    assert holding(Path("/tmp/ray"), KEY, since) == []  # what Ray logs, and its dashboard reads
    assert seen == [], "no command line holds the key"


def test_a_judge_that_never_answers_stops_the_run_which_goes_on_later(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "stuck", rules=({"match": "Question 7: how", "hang": True},))
    stall = ("--set", "rows.stall_seconds=10")
    status, said = finish(start("run", recipe, *stall))
    assert status == 1, said
    assert "hangs: it has left" in said
    assert "--resume" in said
    assert "Traceback" not in said
    write_recipe(tmp_path, "stuck")
    status, said = finish(start("run", recipe, "--resume", *stall))
    assert status == 0, said
    assert [row["index"] for row in stage_rows(tmp_path / "stuck", "02_revise")] == list(range(COUNT))


def test_a_second_run_on_a_folder_is_refused_and_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    # The last question holds the first run at work, however long the second takes to be refused.
    recipe = write_recipe(tmp_path, "shared", rules=({"match": f"Question {COUNT - 1}: how", "hang": True},))
    run = tmp_path / "shared"
    first = start("run", recipe, "--set", "rows.stall_seconds=600")
    wait_for_rows(run, "02_revise", first)
    workers = [
        each for each in psutil.Process(first.pid).children(recursive=True) if "StageWorker" in str(each.cmdline())
    ]
    assert workers
    status, said = finish(start("run", recipe, "--resume"))
    assert (status, f"process {first.pid} is working in it" in said) == (2, True), said
    os.kill(first.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(first.pid, signal.SIGINT)
    began = time.monotonic()
    status, said = finish(first)
    assert status == 130, said
    assert time.monotonic() - began < 60
    assert "--resume" in said
    assert "Traceback" not in said
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    write_recipe(tmp_path, "shared")  # nothing hangs; the script's hash is no part of the recipe
    status, said = finish(start("run", recipe, "--resume"))
    assert status == 0, said
    assert [row["index"] for row in stage_rows(run, "02_revise")] == list(range(COUNT))
