from __future__ import annotations

import subprocess
from pathlib import Path

from calmstorm.settings import RlSettings
from calmstorm.training.verl.launch import launch_lines, launch_script

SETTINGS = RlSettings(engine="verl", nodes=4, processes=8)
FAKE = '#!/bin/sh\necho "$(basename "$0") $* CALM_VERL=$CALM_VERL RAY_ADDRESS=$RAY_ADDRESS" >> "{log}"\n{more}'


def run_part(tmp_path: Path, *part: str, nodes: int = 4) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs a part of the script with programs that write down how they were called."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    log.touch()
    for name, more in (("ray", ""), ("calm", ""), ("python", f"echo {nodes}\n")):
        (programs / name).write_text(FAKE.format(log=log, more=more))
        (programs / name).chmod(0o755)
    script = tmp_path / "with space" / "rl.sh"
    script.parent.mkdir()
    words = ["calm", "rl", "runs/a b", "--engine", "verl"]
    script.write_text(launch_script(SETTINGS, words, script, script.parent))
    done = subprocess.run(
        ["/bin/sh", script, *part],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, log.read_text().splitlines()


def test_the_first_node_begins_a_cluster(tmp_path: Path) -> None:
    done, called = run_part(tmp_path, "head")
    assert done.returncode == 0
    assert called == ["ray start --head --port=6379 --num-gpus=8 CALM_VERL=cuda RAY_ADDRESS="]


def test_the_others_join_it(tmp_path: Path) -> None:
    _, called = run_part(tmp_path, "node", "10.0.0.1")
    assert called == ["ray start --address=10.0.0.1:6379 --num-gpus=8 CALM_VERL=cuda RAY_ADDRESS="]


def test_training_is_the_same_command_again_on_the_cluster(tmp_path: Path) -> None:
    _, called = run_part(tmp_path, "train")
    assert called[-1] == "calm rl runs/a b --engine verl CALM_VERL=cuda RAY_ADDRESS=auto"


def test_training_waits_for_all_nodes(tmp_path: Path) -> None:
    done, called = run_part(tmp_path, "train", nodes=3)
    assert done.returncode == 1
    assert "3 of 4 nodes have joined" in done.stderr
    assert not [line for line in called if line.startswith("calm")]


def test_a_part_has_to_be_named(tmp_path: Path) -> None:
    done, called = run_part(tmp_path)
    assert (done.returncode, called) == (2, [])


def test_a_person_is_told_what_to_run_where() -> None:
    lines = launch_lines(SETTINGS, Path("runs/a/launch/rl.sh"))
    assert [line.split("#")[0].split() for line in lines] == [
        ["sh", "runs/a/launch/rl.sh", *part] for part in (["head"], ["node", "FIRST"], ["train"])
    ]
