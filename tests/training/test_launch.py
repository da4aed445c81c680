"""How a training is started in several processes: files, commands, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.settings import LocalSettings, SftSettings, TrainingSettings
from calmstorm.training import launch, sharding

GPU, CPU = LocalSettings(device="cuda"), LocalSettings(device="cpu")
WORDS = ["sft", "runs/a b", "--set", "sft.batch=16"]


def prepared(run: Path, local: LocalSettings, **settings: object) -> launch.Launch:
    return launch.prepare(run, "sft", TrainingSettings.model_validate(settings), local, WORDS)


def test_gpus_of_a_node_are_started_by_accelerate(tmp_path: Path) -> None:
    start = prepared(tmp_path, GPU, processes=8)
    config = tmp_path / "launch" / "sft.yaml"
    assert start.command == (f"accelerate launch --config_file {config} -m calmstorm sft 'runs/a b' --set sft.batch=16")
    read = load_config_from_file(str(config))
    assert (read.distributed_type, read.num_processes, read.num_machines) == ("MULTI_GPU", 8, 1)
    assert (read.mixed_precision, read.use_cpu) == ("bf16", False)


def test_each_node_of_several_gets_its_number_and_the_address_of_the_first(tmp_path: Path) -> None:
    start = prepared(tmp_path, GPU, processes=8, nodes=4)
    words = list(start.words[2:])
    words[words.index("NODE")] = "3"
    read = launch_command_parser().parse_args(words)
    assert (read.machine_rank, read.main_process_ip, read.module) == (3, "ADDRESS", True)
    assert (read.training_script, read.training_script_args) == ("calmstorm", WORDS)
    assert load_config_from_file(str(tmp_path / "launch" / "sft.yaml")).num_processes == 32
    assert "on each of the 4 nodes, with its number from 0 for NODE" in start.explained
    with pytest.raises(InputError, match="4 nodes cannot be started from here: run accelerate launch"):
        launch.start(start)


def test_zero3_is_described_by_deepspeeds_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "require_deepspeed", lambda: None)
    prepared(tmp_path, GPU, processes=8, sharding="zero3")
    read = load_config_from_file(str(tmp_path / "launch" / "sft.yaml"))
    assert read.distributed_type == "DEEPSPEED"
    assert read.deepspeed_config["deepspeed_config_file"] == str(tmp_path / "launch" / "sft.zero3.json")
    assert '"stage": 3' in (tmp_path / "launch" / "sft.zero3.json").read_text()
    assert "mixed_precision" not in (tmp_path / "launch" / "sft.yaml").read_text()  # accelerate refuses both


def test_zero3_without_deepspeed_is_refused_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'calmstorm\[deepspeed\]'"):
        prepared(tmp_path, GPU, processes=8, sharding="zero3")


def test_fsdp2_wraps_the_layers_of_the_model(tmp_path: Path) -> None:
    prepared(tmp_path, GPU, processes=2, sharding="fsdp2")
    read = load_config_from_file(str(tmp_path / "launch" / "sft.yaml"))
    assert read.distributed_type == "FSDP"
    assert (read.fsdp_config["fsdp_version"], read.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]) == (
        2,
        "Qwen3DecoderLayer",
    )


def test_a_cpu_takes_torchrun(tmp_path: Path) -> None:
    assert prepared(tmp_path, CPU, processes=2).command == (
        "ACCELERATE_USE_CPU=true torchrun --standalone --nproc_per_node 2 "
        "-m calmstorm sft 'runs/a b' --set sft.batch=16"
    )


def test_processes_of_a_launcher_must_be_as_many_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.is_to_be_launched(SftSettings(processes=2))
    assert not launch.is_to_be_launched(SftSettings())
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not launch.is_to_be_launched(SftSettings(processes=4))
    with pytest.raises(InputError, match=r"4 processes were started, but the settings say 2 on each of 1 nodes"):
        launch.is_to_be_launched(SftSettings(processes=2))
