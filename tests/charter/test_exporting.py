"""`charter export`, the cards, and `charter push` against a server that answers as the hub does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfApi, ModelCard

from charter.commands.export import export as command
from charter.recipe import frozen
from constitution.faults import BadInput
from engine.exporters.export import FORMATS
from engine.storage import Folder
from tests.charter.command_line import charter
from tests.engine.exporters.made_run import make_run
from trainers.fine_tuning import FineTuningSettings
from trainers.launch import Prepared

TOKEN = "hf_secret_of_mine"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run").location)


def test_an_export_says_what_it_wrote_lost_and_left_out(run: Path) -> None:
    called = charter("export", run, "--format", "axolotl", "--kind", "reward")
    assert (called.status, called.errors) == (0, "")
    assert "8 rows" in called.output
    assert "2 left out: it has several turns" in called.output
    assert "note: " in called.output
    assert "type: bradley_terry.chat_template" in called.output
    assert (run / "exports" / "axolotl-reward" / "reward" / "train.jsonl").exists()
    again = charter("export", run, "--format", "axolotl", "--kind", "reward")
    assert again.status == 2
    assert "--overwrite" in again.errors
    assert charter("export", run, "--format", "axolotl", "--kind", "reward", "--overwrite").status == 0


def test_a_link_in_a_run_folder_is_not_followed_into_an_export(run: Path, tmp_path: Path) -> None:
    (tmp_path / "private.yaml").write_text((run / "constitution.yaml").read_text())
    (run / "constitution.yaml").unlink()
    (run / "constitution.yaml").symlink_to(tmp_path / "private.yaml")
    called = charter("export", run, "--format", "trl", "--output", tmp_path / "out")
    assert (called.status, "it is a link" in called.errors) == (2, True), called.errors
    assert not (tmp_path / "out").exists()


def test_help_names_every_format() -> None:
    (option,) = (each for each in command.params if each.name == "format_name")
    told = str(option.to_info_dict()["help"])
    assert sorted(told.rstrip(".").replace(" or ", ", ").split(", ")) == sorted(FORMATS)


def test_the_card_of_an_export_is_what_the_hub_reads(run: Path, tmp_path: Path) -> None:
    called = charter(
        "export", run, "--format", "hugging-face", "--kind", "preference", "--kind", "sft", "--test", "0.5",
        "--seed", 2, "--license", "cc-by-4.0", "--output", tmp_path / "out",
    )  # fmt: skip
    assert called.status == 0
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert "not-for-all-audiences" in card.data.tags
    read = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sum(len(split) for split in read.values()) == 10
    assert set(read) == {"train", "test"}
    revised = load_dataset(str(tmp_path / "out"), "sft", split="test", cache_dir=str(tmp_path / "cache"))
    assert revised[0]["completion"][0]["role"] == "assistant"
    text = card.text
    assert "| both bad | 2 | 9 | keep |" in text
    assert "judge `hash`" in text
    assert str(tmp_path) not in text, "no path of this machine is published"


def test_the_card_of_a_run_counts_what_was_left_out_and_what_was_measured(run: Path) -> None:
    folder = Folder(str(run))
    report = {"labels": {"oracle_agreement": {"value": 0.912, "low": 0.88, "high": 0.94, "n": 300}}}
    folder.write_json("report.json", report)
    assert charter("card", run, "--license", "mit").status == 0
    text = (run / "README.md").read_text()
    assert "| `data/preferences` | 10 | 3 tie |" in text
    assert "| measured: oracle\\_agreement | 0.912 [0.880, 0.940], n = 300 |" in text
    assert "charter run recipe.yaml" in text
    assert "license: mit" in text
    assert "5,000" in text
    read = load_dataset(str(run), "revisions", split="train", cache_dir=str(run / "cache"))
    assert len(read) == 10


def test_the_card_of_a_model_tells_what_it_learnt_from(run: Path, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "trained"))
    told = FineTuningSettings(name="kinder", model="someone/base", revisions={"run": str(run)})
    folder.write("settings.yaml", frozen(told).encode())
    manifest: dict[str, Any] = {
        "kind": "sft",
        "model": {"name": "someone/base", "revision": "abc"},
        "seed": 0,
        "versions": {"python": "3"},
    }
    folder.write_json("manifest.json", manifest)
    assert "it is not finished" in charter("card", folder.location).errors
    data = asdict(Prepared({"revisions": 10}, {"longer than 256 tokens": 3}, "d" * 16, constitutions=("c" * 16,)))
    folder.write_json("manifest.json", {**manifest, "data": data, "steps": 4, "figures": {"held_out_loss": 1.5}})
    assert charter("card", folder.location, "--license", "llama3").status == 0
    card = ModelCard.load(tmp_path / "trained" / "model" / "README.md")
    assert (card.data.base_model, card.data.license, card.data.pipeline_tag) == (
        "someone/base",
        "llama3",
        "text-generation",
    )
    assert "| left out: longer than 256 tokens | 3 |" in card.text
    assert "the constitution *test* 1" in card.text
    assert "judge `hash`" in card.text
    assert "Nothing here shows that it is safe" in card.text


def test_a_hostile_row_cannot_break_a_card(tmp_path: Path) -> None:
    hostile = "```\n</details><script>alert(1)</script>\u202e\x1b[2J"
    source = tmp_path / "pairs|`of`_mine.jsonl"
    source.write_text(json.dumps({"prompt": hostile, "chosen": hostile + "!", "rejected": "No."}))
    assert charter("export", source, "--format", "jsonl", "--output", tmp_path / "out").status == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert "\u202e" not in text
    assert "\x1b" not in text
    body = text.split("```json\n")[1].split("\n```")[0]
    assert json.loads(body.replace("<U+202E>", "").replace("<U+001B>", ""))["rejected"][0]["content"] == "No."
    assert "# pairs\\|\\`of\\`\\_mine.jsonl" in text


# The hub --------------------------------------------------------------------------------------------------------------


@dataclass
class Hub:
    """What the server was sent, and what it says of the repository."""

    address: str = ""
    private: bool | None = None
    paths: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    refuses: bool = False


class Answers(BaseHTTPRequestHandler):
    """The endpoints that the hub's client calls for a small commit."""

    hub: Hub

    def do_GET(self) -> None:
        self._heard()
        if self.hub.private is None:
            self._say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        else:
            self._say({"id": "me/pairs", "private": self.hub.private, "sha": "0" * 40, "siblings": [], "tags": []})

    def do_POST(self) -> None:
        self._heard()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.refuses:
            self._say({"error": "You may not write here"}, 403)
        elif self.path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            self._say({"url": f"{self.hub.address}/datasets/me/pairs"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._say({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                said = json.loads(line)
                if said["key"] == "file":
                    self.hub.files[said["value"]["path"]] = base64.b64decode(said["value"]["content"])
            self._say({"commitUrl": f"{self.hub.address}/me/pairs/commit/0", "commitOid": "0" * 40, "success": True})
        else:
            self._say({"errors": [], "warnings": []})

    def _heard(self) -> None:
        self.hub.paths.append(self.path)
        self.hub.tokens.add(self.headers.get("Authorization"))

    def _say(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, said in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, said)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server of this machine in the hub's place."""
    said = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"hub": said}))
    said.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("charter.hub.hub", lambda: HfApi(endpoint=said.address, token=TOKEN))
    yield said
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    assert charter("export", run, "--format", "trl", "--output", tmp_path / "out").status == 0
    return tmp_path / "out"


def test_a_push_is_private_and_sends_what_it_showed(hub: Hub, exported: Path) -> None:
    (exported / "preference" / "weights.bin").write_bytes(b"pickled")
    (exported / "link.md").symlink_to("/etc/hostname")
    called = charter("push", exported, "me/pairs", "--yes")
    assert called.status == 0, called.errors
    assert [asked["visibility"] for asked in hub.created] == ["private"]
    assert hub.files["preference/train.parquet"] == (exported / "preference" / "train.parquet").read_bytes()
    shown = {line.split("bytes  ")[1] for line in called.output.splitlines() if "bytes  " in line}
    assert set(hub.files) == shown
    assert not {"preference/weights.bin", "link.md"} & set(hub.files)
    assert "stays here: preference/weights.bin" in called.output
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in called.output + called.errors


def test_nothing_is_sent_unasked_or_into_the_open(hub: Hub, exported: Path) -> None:
    unasked = charter("push", exported, "me/pairs")
    assert unasked.status == 2
    assert "--yes" in unasked.errors
    hub.private = False
    public = charter("push", exported, "me/pairs", "--yes")
    assert public.status == 2
    assert "it is public already" in public.errors
    assert not hub.files
    assert charter("push", exported, "me/pairs", "--yes", "--public").status == 0


def test_a_refusal_of_the_hub_is_one_line_without_the_token(hub: Hub, exported: Path) -> None:
    hub.refuses = True
    called = charter("push", exported, "me/pairs", "--yes")
    assert called.status == 1
    assert "the hub did not take it" in called.errors
    assert TOKEN not in called.errors
    assert "Traceback" not in called.errors


def test_what_is_no_export_is_not_sent(
    run: Path, tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charter.hub import hub, parcel_of

    assert "export it first" in charter("push", run, "me/pairs", "--yes").errors
    with pytest.raises(BadInput, match="neither an export nor a model"):
        parcel_of(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert parcel_of(model).type == "model"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(BadInput, match="HF_TOKEN is not set"):
        hub()
    assert charter("push", exported, "me/pairs", "--yes").status == 2
    dry = charter("push", exported, "me/pairs", "--dry-run")
    assert (dry.status, "_EXPORT.json" in dry.output) == (0, True), "looking needs no token"
