"""A model onto the hub, by the hub's own library, against a stand-in of its API on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmstorm.errors import CalmstormError, InfrastructureError, InputError
from calmstorm.stages import publishing
from calmstorm.stages.publishing import Pushed, push
from tests.stages.hub_stand_in import READER, WRITER, Hub, Repository, serve

huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's own


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(publishing, "PAUSES", (0.01, 0.01))
    yield hub
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()


def shard(path: Path, values: bytes) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + values)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in two shards, with things beside it that are nobody's business."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "qwen3"}')
    (directory / "tokenizer.json").write_text("{}" + " " * 5000)
    (directory / "README.md").write_text('---\nlicense: "mit"\n---\n# A model\n')
    (directory / "optimizer.pt").write_bytes(b"private")
    (directory / ".env").write_text("KEY=secret")
    for number in (1, 2):
        shard(directory / f"model-0000{number}-of-00002.safetensors", os.urandom(20_000))
    names = {f"w{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return directory


PUBLIC = {
    "README.md",
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
}


def states(pushed: Pushed) -> dict[str, str]:
    return {file.name: file.state for file in pushed.files}


def test_the_files_of_a_model_arrive_byte_for_byte_and_nothing_else_does(hub: Hub, model: Path) -> None:
    pushed = push(model, "you/tiny", private=True)
    assert hub.repositories["you/tiny"].private
    assert hub.files("you/tiny") == {name: (model / name).read_bytes() for name in PUBLIC}
    assert set(states(pushed).values()) == {"new"}
    assert pushed.commit == f"{1:040x}"
    assert pushed.url == f"{hub.url}/you/tiny"


def test_a_second_push_sends_only_what_changed_and_a_third_nothing(hub: Hub, model: Path) -> None:
    push(model, "you/tiny", private=True)
    hub.transfers.clear()
    shard(model / "model-00002-of-00002.safetensors", os.urandom(20_000))
    (model / "config.json").write_text('{"model_type": "qwen3", "x": 1}')
    pushed = push(model, "you/tiny", private=True)
    assert len(hub.transfers) == 1
    changed = {name for name, state in states(pushed).items() if state == "changed"}
    assert (
        changed == {"config.json", "model-00002-of-00002.safetensors"} == set(hub.repositories["you/tiny"].commits[1])
    )
    assert hub.files("you/tiny") == {name: (model / name).read_bytes() for name in PUBLIC}
    assert push(model, "you/tiny", private=True).commit is None
    assert len(hub.repositories["you/tiny"].commits) == 2


def test_an_interrupted_push_leaves_nothing_half_done_and_can_be_repeated(hub: Hub, model: Path) -> None:
    hub.failing["/commit/"] = [400]
    with pytest.raises(InputError, match=r"refuses the upload to you/tiny \(400\): as told"):
        push(model, "you/tiny", private=True)
    assert hub.files("you/tiny") == {}
    sent = len(hub.transfers)
    assert sent == 3  # the shards and a large tokenizer
    push(model, "you/tiny", private=True)
    assert len(hub.transfers) == sent  # content that had arrived is not sent again
    assert hub.files("you/tiny") == {name: (model / name).read_bytes() for name in PUBLIC}


def test_weights_of_an_earlier_model_are_removed_and_other_files_of_the_repository_stay(hub: Hub, model: Path) -> None:
    push(model, "you/tiny", private=True)
    hub.files("you/tiny")["notes.txt"] = b"mine"
    for path in model.glob("model*"):
        path.unlink()
    shard(model / "model.safetensors", b"123")
    pushed = push(model, "you/tiny", private=True)
    assert states(pushed)["model.safetensors.index.json"] == "removed"
    assert set(hub.files("you/tiny")) == {
        "README.md",
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "notes.txt",
    }


def test_a_branch_is_created_and_main_stays_as_it_is(hub: Hub, model: Path) -> None:
    push(model, "you/tiny", private=False, revision="step-40")
    assert not hub.repositories["you/tiny"].private
    assert hub.files("you/tiny") == {}
    assert set(hub.files("you/tiny", "step-40")) == PUBLIC


def test_a_busy_hub_is_asked_again_and_given_up_after_a_few_times(hub: Hub, model: Path) -> None:
    hub.failing["/repos/create"] = [503, 429]
    push(model, "you/tiny", private=True)
    hub.failing["/commit/"] = [503] * 50
    (model / "config.json").write_text("{}")
    with pytest.raises(InfrastructureError, match=r"^the hub fails for now \(503\): push again later"):
        push(model, "you/tiny", private=True)
    assert len(hub.failing["/commit/"]) == 47  # three attempts


def test_a_repository_that_everybody_sees_is_not_taken_for_a_private_one(hub: Hub, model: Path) -> None:
    hub.repositories["you/tiny"] = Repository(private=False)
    with pytest.raises(InputError, match="exists and everybody can see it: give --public"):
        push(model, "you/tiny", private=True)
    assert hub.files("you/tiny") == {}


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        ("hf_unknown", "you/tiny", r"does not know the token in HF_TOKEN \(401\)"),
        (READER, "you/tiny", r"may not write to you/tiny \(403\)"),
        (WRITER, "others/tiny", r"may not write to others/tiny \(403\)"),
        (WRITER, "you/bad..name", "is no name of a repository"),
        (WRITER, "tiny", "names no owner; it must be owner/name"),
        ("", "you/tiny", "HF_TOKEN is not set"),
        ("hf_se\x00cret", "you/tiny", "HF_TOKEN holds characters that no token has"),
        ("hf_secrät", "you/tiny", "HF_TOKEN holds characters that no token has"),
    ],
)
def test_what_the_hub_would_refuse_is_said_in_one_line_without_the_token(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, token: str, repository: str, message: str
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "HF_TOKEN": token})
    with pytest.raises(InputError, match=message) as raised:
        push(model, repository, private=True)
    assert "\n" not in str(raised.value)
    assert not token or token not in str(raised.value)


def test_a_repository_that_vanished_is_said_in_one_line(hub: Hub, model: Path) -> None:
    hub.failing["/tree/"] = [404]
    with pytest.raises(InputError, match=r"has no you/tiny at main for this token \(404\)"):
        push(model, "you/tiny", private=True)


def test_a_hub_that_is_not_there_is_given_up(model: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(InfrastructureError, match=rf"^{address} cannot be reached \(ConnectError\): check"):
        push(model, "you/tiny", private=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "holds no config.json, so it is no model"),
        (lambda d: (d / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda d: (d / "model-00002-of-00002.safetensors").unlink(), "00002-of-00002.safetensors is missing"),
        (lambda d: os.truncate(d / "model-00001-of-00002.safetensors", 9000), "is cut off or damaged"),
        (lambda d: (d / "model-00001-of-00002.safetensors").write_bytes(b""), "is cut off or damaged"),
        (lambda d: (d / "model.safetensors.index.json").write_text("[]"), "is no index of weights"),
        (lambda d: [path.unlink() for path in d.glob("model*")], "model.safetensors is missing"),
    ],
)
def test_a_directory_that_is_not_a_complete_model_is_refused_before_the_hub_is_asked(
    hub: Hub, model: Path, spoil, message: str
) -> None:
    spoil(model)
    with pytest.raises(CalmstormError, match=message):
        push(model, "you/tiny", private=True)
    assert hub.repositories == {}


def calm(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CALM_"))}
    program = Path(sys.executable).with_name("calm")
    return subprocess.run([program, *words], capture_output=True, text=True, env=known | environment, check=False)


def test_the_command_pushes_quietly_and_its_output_holds_no_token(hub: Hub, model: Path, tmp_path: Path) -> None:
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
    done = calm("push", str(model), "you/tiny", "--public", "--json", **settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["repository"], result["private"], len(result["files"])) == ("you/tiny", False, 6)
    assert done.stderr.count("\n") == 1  # what is uploaded, and no bar
    assert WRITER not in done.stdout + done.stderr
    assert set(hub.files("you/tiny")) == PUBLIC


def test_a_dry_run_names_files_and_sizes_and_asks_nobody(model: Path) -> None:
    done = calm("push", str(model), "you/tiny", "--dry-run", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "model-00002-of-00002.safetensors" in done.stdout
    assert ".env" not in done.stdout
    assert "would go to you/tiny (private); nothing was sent" in done.stdout
