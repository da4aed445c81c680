"""What a curation costs this machine beside the models: samples per second, memory, disk, time to resume.

    OMP_NUM_THREADS=1 python benchmarks/curation.py [--samples 1000 10000 100000] [--tokens 2000] [--json FILE]

Reasoner, interpreter and Intervener are scripted and answer at once, so that what is measured is this package: the
rollout loop, splicing, grading, records, the run directory. Every sample has two rounds: an attempt with a script, a
hint in its middle, and the resumed attempt, found flawless. Each size runs in a process of its own, so that peak memory
is its own; resuming and making the index anew are measured in further ones. Prompt ids are sent through the real
server Reasoner to a server on loopback that answers at once; CPU is that of the client alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from calmstorm.interpreter.limits import Limits
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ScriptedReasoner
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.records import (
    Execution,
    ExecutionStatus,
    Intervention,
    LabelStatus,
    Problem,
    Trajectory,
    Trigger,
)
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, load_recipe
from calmstorm.stages import curate, filter_golden
from calmstorm.stages.curated import read_curated

VOCABULARY = 151_643
PROMPT_IDS = 16_000
FLAW = "I try the plans by hand. "
HINT = "Let me check the script that I have. "


class QuarterCodec:
    """Four characters to a token, with ids as long as those of a large vocabulary."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._chunks: dict[int, str] = {}

    def encode(self, text: str) -> list[int]:
        """Returns ids; a chunk that is new gets one."""
        ids = []
        for start in range(0, len(text), 4):
            chunk = text[start : start + 4]
            if chunk not in self._ids:
                number = (len(self._ids) * 7919 + 11) % VOCABULARY
                self._ids[chunk], self._chunks[number] = number, chunk
            ids.append(self._ids[chunk])
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of ids that `encode` gave."""
        return "".join(self._chunks.get(number, "") for number in token_ids)


class Runner:
    """Runs nothing and prints at once."""

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Says that it printed the answer."""
        return Execution(status=ExecutionStatus.OK, stdout="400\n", wall_seconds=0.1, tier="unsafe")


def writer(tokens: int) -> ScriptedReasoner:
    """Returns a Reasoner that writes responses of about so many tokens."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=3)) + " " for _ in range(2000)]
    half = "".join(draw.choices(words, k=tokens // 2))

    def script(prefix: Prefix, sampling: Sampling) -> str:
        said = prefix.text.partition("\n")[2]
        if HINT in said:
            return half + "\n\\boxed{400}"
        return half + FLAW + half + "\n\\boxed{300}" if "```output" in said else "```python\nprint(400)\n```\n"

    return ScriptedReasoner(script, codec=QuarterCodec(), end_of_turn=VOCABULARY)


def review(problem: Problem, trajectory: Trajectory) -> Intervention | None:
    """Corrects the first round."""
    if trajectory.round:
        return None
    return Intervention(
        problem_id=problem.id,
        sample=trajectory.sample,
        round=0,
        trigger=Trigger.PREMATURE_SOLVING,
        analysis="It solves by hand what the script has solved.",
        target=FLAW,
        position=trajectory.response.index(FLAW),
        hint=HINT,
    )


def problems(count: int) -> list[Problem]:
    """Returns problems of the length of a benchmark's."""
    text = "A workshop makes chairs and tables from wood and labor; how much profit can it make? " * 6
    return [
        Problem(id=f"p{i}", question=f"{i}: {text}", answer=400.0, status=LabelStatus.OPTIMAL) for i in range(count)
    ]


def memory_mib() -> float:
    """Returns the peak memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_curation(run: Path, count: int, tokens: int) -> dict[str, float]:
    """Curates so many samples."""
    recipe: Recipe = load_recipe(None, {"rollout.concurrency": "64", "rollout.response_tokens": str(4 * tokens)})
    asked = problems(count)
    before, started, cpu = memory_mib(), time.perf_counter(), time.process_time()
    with RunDirectory(run) as directory:
        asyncio.run(curate(directory, recipe, asked, writer(tokens), Runner(), ScriptedIntervener(review)))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        golden_started = time.perf_counter()
        funnel = filter_golden(directory, recipe.curation)
    if funnel.golden != count:
        raise RuntimeError(f"{funnel.golden} of {count} are golden: {funnel}")
    with RunDirectory(run, readonly=True) as directory:
        stored = sum(place.tokens for place in directory.places())
    return {
        "samples_per_second": count / seconds,
        "cpu_ms_per_sample": 1000 * cpu_seconds / count,
        "peak_mib": memory_mib(),
        "mib_before": before,
        "golden_seconds": time.perf_counter() - golden_started,
        "trajectories_gb": (run / "trajectories.jsonl").stat().st_size / 1e9,
        "index_mb": (run / "trajectories.idx").stat().st_size / 1e6,
        "bytes_per_token": (run / "trajectories.jsonl").stat().st_size / stored,
    }


def measure_resume(run: Path, label: str) -> dict[str, float]:
    """Reads how far a run is, as a resumed curation does."""
    started = time.perf_counter()
    with RunDirectory(run) as directory:
        curated = read_curated(directory)
    left = sum(not sample.is_finished(5) for sample in curated.samples.values())
    if left:
        raise RuntimeError(f"{left} samples are not finished")
    return {f"{label}_seconds": time.perf_counter() - started, f"{label}_peak_mib": memory_mib()}


class Answers(BaseHTTPRequestHandler):
    """Answers every completion with the same few ids."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """Reads the request and answers."""
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "text": "x", "finish_reason": "stop", "stop_reason": None, "token_ids": [5, 6, 7]}
        body = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve() -> None:
    """Serves until standard input ends; prints the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def measure_client(requests: int) -> dict[str, float]:
    """Asks the server Reasoner for completions of long prompts, and returns the CPU of one."""
    command = [sys.executable, __file__, "--part", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        tokenizer = str(files("calmstorm").joinpath("pocket", "model"))
        reasoner = ServerReasoner(url, "m", tokenizer=tokenizer)
        prefix = Prefix(text="x", token_ids=tuple(i % 1500 for i in range(PROMPT_IDS)))

        async def ask(count: int) -> None:
            for _ in range(count):
                await reasoner.generate(prefix, stop=("```",), max_tokens=100, sampling=Sampling(seed=1))

        async def session() -> float:
            await ask(5)
            cpu = time.process_time()
            await ask(requests)
            used = time.process_time() - cpu
            await reasoner.close()
            return used

        used = asyncio.run(session())
        server.communicate()
    return {"prompt_ids": PROMPT_IDS, "cpu_ms_per_completion": 1000 * used / requests}


def in_own_process(part: str, *words: object) -> dict[str, Any]:
    """Runs a part of this file in a process of its own and returns what it measured."""
    command = [sys.executable, __file__, "--part", part, *map(str, words)]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def main() -> None:
    """Runs every size and prints a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options.add_argument("--tokens", type=int, default=2000, help="of a response, about")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("--part", choices=["curation", "resume", "rebuild", "client", "serve"], help=argparse.SUPPRESS)
    options.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.part == "serve":
        return serve()
    if given.part == "client":
        return print(json.dumps(measure_client(200)))
    if given.part == "curation":
        run, count, tokens = given.words
        return print(json.dumps(measure_curation(Path(run), int(count), int(tokens))))
    if given.part:
        return print(json.dumps(measure_resume(Path(given.words[0]), given.part)))
    rows = []
    for count in given.samples:
        with tempfile.TemporaryDirectory(prefix="calm-bench-") as folder:
            run = Path(folder) / "run"
            row = {"samples": count, "tokens": given.tokens, **in_own_process("curation", run, count, given.tokens)}
            row |= in_own_process("resume", run)
            (run / "trajectories.idx").unlink()
            row |= in_own_process("rebuild", run)
        rows.append(row)
        print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    client = in_own_process("client")
    print(", ".join(f"{key} {value:.4g}" for key, value in client.items()))
    if given.json:
        given.json.write_text(json.dumps({"curation": rows, "client": client}, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
