"""Starting a training in several processes: the configuration of accelerate, the command, and running it here.

Every process runs the same command, `calm sft RUN` or `calm rl RUN`, and `calmstorm.training.ranks` says which it is.
On GPUs `accelerate launch` starts them. On a CPU torchrun does: accelerate's own configuration for several CPU
processes (MULTI_CPU) starts a single one and says nothing.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError, WorkError
from calmstorm.settings import LocalSettings, TrainingSettings
from calmstorm.training import ranks
from calmstorm.training.sharding import Tree, fsdp2, require_deepspeed, zero3

PORT = 29500
"""Where the processes of several nodes find each other, on the first of them."""

_ON_CPU = "ACCELERATE_USE_CPU"


@dataclass(frozen=True)
class Launch:
    """How a training is started in several processes."""

    words: tuple[str, ...]
    """The launcher and what it starts; several nodes have placeholders, NODE and ADDRESS."""
    on_gpu: bool
    nodes: int

    @property
    def command(self) -> str:
        """As it is typed."""
        text = shlex.join(self.words)
        return text if self.on_gpu else f"{_ON_CPU}=true {text}"

    @property
    def explained(self) -> str:
        """The command, and what else one has to know."""
        if self.nodes == 1:
            return self.command
        return (
            f"{self.command}\n(on each of the {self.nodes} nodes, with its number from 0 for NODE and the address of "
            f"node 0, which listens on port {PORT}, for ADDRESS; all nodes see the run directory and the model)"
        )


def is_to_be_launched(settings: TrainingSettings) -> bool:
    """Whether a training needs more processes than this one.

    Raises:
        InputError: A launcher has started another number of processes than the settings say.
    """
    wanted = settings.processes * settings.nodes
    if not ranks.launched():
        return wanted > 1
    if ranks.world_size() != wanted:
        raise InputError(
            f"{ranks.world_size()} processes were started, but the settings say {settings.processes} on each of "
            f"{settings.nodes} nodes: start so many, or set processes and nodes"
        )
    return False


def prepare(
    run: Path, stage: str, settings: TrainingSettings, local: LocalSettings, arguments: Sequence[str]
) -> Launch:
    """Writes the accelerate configuration of a training to `RUN/launch/<stage>.yaml`.

    Args:
        run: Run directory.
        stage: The training's, which names the file.
        settings: Processes, nodes, sharding.
        local: Whether there is a GPU to be used.
        arguments: Words after `calm` that start the training.

    Raises:
        MissingExtraError: ZeRO-3 needs DeepSpeed.
    """
    on_gpu = uses_gpu(local)
    folder = run / "launch"
    folder.mkdir(parents=True, exist_ok=True)
    if settings.sharding == "zero3":
        require_deepspeed()
        write_atomically(folder / f"{stage}.zero3.json", json.dumps(zero3(), indent=1) + "\n")
    config = folder / f"{stage}.yaml"
    write_atomically(config, as_yaml(accelerate_configuration(settings, folder / f"{stage}.zero3.json", on_gpu)))
    calm = ["-m", "calmstorm", *arguments]
    many = settings.nodes > 1
    if on_gpu:
        nodes = ["--machine_rank", "NODE", "--main_process_ip", "ADDRESS"] if many else []
        return Launch(("accelerate", "launch", "--config_file", str(config), *nodes, *calm), on_gpu, settings.nodes)
    nodes = ["--nnodes", str(settings.nodes), "--node_rank", "NODE", "--master_addr", "ADDRESS"]
    where = [*nodes, "--master_port", str(PORT)] if many else ["--standalone"]
    count = ["--nproc_per_node", str(settings.processes)]
    return Launch(("torchrun", *where, *count, *calm), on_gpu, settings.nodes)


def uses_gpu(local: LocalSettings) -> bool:
    """Whether a training runs on GPUs."""
    import torch

    return local.device.startswith("cuda") or (local.device == "auto" and torch.cuda.is_available())


def accelerate_configuration(settings: TrainingSettings, zero3_file: Path, on_gpu: bool) -> Tree:
    """Returns what `accelerate launch --config_file` reads.

    Args:
        settings: Processes, nodes, sharding.
        zero3_file: DeepSpeed's own configuration, where ZeRO-3 shards.
        on_gpu: Else the file is only for the record: torchrun starts processes on a CPU.
    """
    kinds = {"zero3": "DEEPSPEED", "fsdp2": "FSDP", "none": "MULTI_GPU" if on_gpu else "MULTI_CPU"}
    config: Tree = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kinds[settings.sharding],
        "num_machines": settings.nodes,
        "num_processes": settings.processes * settings.nodes,
        "machine_rank": 0,
        "main_process_port": PORT,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": not on_gpu,
    }
    if settings.sharding == "zero3":  # says itself in which precision it computes
        multinode = {"deepspeed_multinode_launcher": "standard"} if settings.nodes > 1 else {}
        config["deepspeed_config"] = {"deepspeed_config_file": str(zero3_file), "zero3_init_flag": False, **multinode}
    elif on_gpu:
        config["mixed_precision"] = "bf16"
    if settings.sharding == "fsdp2":
        config["fsdp_config"] = {f"fsdp_{name}": value for name, value in fsdp2(checkpointing=on_gpu).items()}
    return config


def as_yaml(tree: Mapping[str, object], indent: str = "") -> str:
    """Returns settings as YAML; values are written as JSON, which YAML includes."""
    lines = []
    for name, value in tree.items():
        inner = f"\n{as_yaml(value, indent + '  ')}" if isinstance(value, Mapping) else f" {json.dumps(value)}\n"
        lines.append(f"{indent}{name}:{inner}")
    return "".join(lines)


def start(launch: Launch) -> None:
    """Runs a training in several processes on this machine, and waits for it.

    What the processes print goes where this one prints. However this one ends, they end with it.

    Raises:
        InputError: It takes several nodes, or the training refused its input, which it has reported.
        WorkError: The training failed.
        KeyboardInterrupt: Ctrl-C, which ended the processes too.
    """
    if launch.nodes > 1:
        raise InputError(f"{launch.nodes} nodes cannot be started from here: run {launch.explained}")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with _environment(launch.on_gpu), _signals_restored(), _standard_output():
        try:
            _run(launch.words)
        except ChildFailedError as error:
            raise _failed({failure.exitcode for failure in error.failures.values()}) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise WorkError(
                f"the training was ended by signal {error.sigval}; run the command again to go on"
            ) from None


def _run(words: Sequence[str]) -> None:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed import run as torchrun

    for name in list(logging.root.manager.loggerDict):  # the processes say themselves what happened
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    launcher, *arguments = words
    if launcher == "torchrun":
        torchrun.run(torchrun.get_args_parser().parse_args(arguments))
    else:
        launch_command(launch_command_parser().parse_args(arguments[1:]))


def _failed(statuses: Collection[int]) -> InputError | WorkError:
    """Returns the error of a training whose processes have ended with these statuses."""
    if 2 in statuses or 1 in statuses:
        error = InputError("the training refused its input") if 2 in statuses else WorkError("the training failed")
        error.reported = True
        return error
    return WorkError(f"the training's processes ended with status {min(statuses)}; run the command again to go on")


@contextmanager
def _environment(on_gpu: bool) -> Iterator[None]:
    """Says to the processes who has started them, and on what."""
    added = {ranks.LAUNCHED_BY: str(os.getpid())}
    added |= {} if on_gpu else {_ON_CPU: "true"}
    added |= {"OMP_NUM_THREADS": "1"} if "OMP_NUM_THREADS" not in os.environ else {}
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Takes back the signal handlers that a launcher sets and leaves."""
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Lets the processes write where this one's Python writes, which may have taken descriptor 1 from native code."""
    try:
        ours = sys.stdout.fileno()
    except OSError:  # somebody has put their own in its place
        yield
        return
    kept = os.dup(1)
    os.dup2(ours, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
