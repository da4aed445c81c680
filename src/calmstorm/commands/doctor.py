"""`calm doctor`: what works on this machine and of the servers named, and what to do about what doesn't."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, table
from calmstorm.errors import CalmstormError, InputError
from calmstorm.settings import IntervenerSettings, Recipe

_PARTS: tuple[tuple[str, str, str], ...] = (
    ("torch", "pocket", "local models, the pocket Reasoner, training"),
    ("transformers", "pocket", "local models, the pocket Reasoner, training"),
    ("trl", "train", "sft and rl; not beside verl"),
    ("verl", "verl", "rl --engine verl; not beside trl"),
    ("accelerate", "train", "sft and rl"),
    ("pyarrow", "parquet", "parquet files"),
)
"""Distribution, the extra that brings it, what it is for."""

_SOLVER_SCRIPTS = {
    "pulp with CBC": (
        "import pulp\np = pulp.LpProblem('p', pulp.LpMaximize)\n"
        "x = pulp.LpVariable('x', 0, 4, cat='Integer')\np += 3 * x\n"
        "p.solve(pulp.PULP_CBC_CMD(msg=0))\nprint(pulp.value(p.objective))"
    ),
    "scipy linprog": "from scipy.optimize import linprog\nprint(-linprog([-3], bounds=[(0, 4)]).fun)",
    "highspy": (
        "import highspy\nh = highspy.Highs()\nh.setOptionValue('output_flag', False)\n"
        "x = h.addVariable(0, 4)\n"
        "h.maximize(3 * x)\nprint(h.getObjectiveValue())"
    ),
}
"""Each prints 12.0, run as model-written code is."""


_IN_PROCESS = "Qwen3 on one device; above about 0.5 billion parameters a server such as vLLM is faster (docs/local.md)"


class Check(NamedTuple):
    """One thing that was checked."""

    name: str
    ok: bool
    required: bool
    """Whether every command needs it."""
    found: str
    """What is there, or why it does not work."""
    remedy: str = ""


def register(app: typer.Typer) -> None:
    """Adds `doctor`."""
    app.command("doctor")(doctor)


def doctor(
    reasoner: options.ReasonerName = None,
    model: options.Model = None,
    recipe: options.RecipeName = None,
    run: Annotated[Path | None, typer.Option("--run", help="Run directory: what its recipe asks is probed.")] = None,
    override: options.Override = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what works on this machine, and of the servers and keys that are named; nothing else is asked.

    Exit status 1 when something every command needs is missing, or a server that was asked for does not work.
    """
    from calmstorm.progress import track

    groups: list[Callable[[], Iterator[Check]]] = [_python, _packages, _isolation, _solvers, _pocket, _machine]
    groups += _probes(_asked(reasoner, model, recipe, run, override))
    checks: list[Check] = []
    with track("checking", len(groups)) as advance:
        for group in groups:
            checks.extend(group())
            advance(checks[-1].name if checks else "")
    healthy = all(check.ok for check in checks if check.required)
    if as_json:
        emit({"ok": healthy, "findings": [check._asdict() for check in checks]})
    else:
        table(["", "", ""], [[_mark(check), check.name, _text(check)] for check in checks])
    raise typer.Exit(0 if healthy else 1)


def _asked(
    reasoner: list[str] | None, model: str | None, recipe: str | None, run: Path | None, override: list[str] | None
) -> Recipe | None:
    """Returns the settings whose servers are to be probed; None where none are named."""
    from calmstorm.stages import recipe_of

    given = options.changes(override, {"model": model})
    if reasoner is None and recipe is None and run is None and not given:
        return None
    before = recipe_of(run) if run is not None else None
    if run is not None and before is None:
        raise InputError(f"{run}: there is no run with settings here; name another, or a recipe with --recipe")
    return options.recipe_for(reasoner, recipe, given, before)


def _probes(recipe: Recipe | None) -> list[Callable[[], Iterator[Check]]]:
    """Returns the probes of what a recipe asks; without one, of the Intervener where its URL is set."""
    from calmstorm.commands import doctor_servers
    from calmstorm.intervener.llm.chat import URL_VARIABLE
    from calmstorm.reasoner.opening import server_urls

    probes: list[Callable[[], Iterator[Check]]] = [_keys]
    if recipe is not None and (urls := server_urls(recipe.reasoner)):
        text_only = recipe.server.text_only
        probes.append(lambda: doctor_servers.probe_reasoner(urls, recipe.model, text_only=text_only))
    if recipe is not None and recipe.rl.generator == "server" and (trained := server_urls(recipe.rl.servers or "")):
        probes.append(lambda: doctor_servers.probe_reasoner(trained, None, training=True))
    if recipe is not None and recipe.server.command and not server_urls(recipe.reasoner):
        probes.append(lambda: _server_command(recipe.server.command))
    needed = recipe is not None and recipe.intervener.kind in ("llm", "rules+llm")
    if needed or os.environ.get(URL_VARIABLE):
        settings = recipe.intervener if recipe is not None else IntervenerSettings()
        probes.append(lambda: doctor_servers.probe_intervener(settings, needed))
    return probes


def _keys() -> Iterator[Check]:
    """Says which keys are set, never what they are."""
    names = ("CALM_API_KEY", "CALM_INTERVENER_KEY", "OPENAI_API_KEY")
    given = [name for name in names if os.environ.get(name, "").strip()]
    yield Check("keys", True, False, f"set: {', '.join(given)}" if given else "none set")


def _server_command(command: Sequence[str]) -> Iterator[Check]:
    """Says whether the program that starts servers is installed."""
    remedy = f"install it, so that `{command[0]}` is found, or name servers that run: --set reasoner=URL"
    found = shutil.which(command[0])
    yield Check("server.command", found is not None, True, found or f"{command[0]} is not installed", remedy)


def _mark(check: Check) -> str:
    return "ok" if check.ok else "MISSING" if check.required else "absent"


def _text(check: Check) -> str:
    return check.found if check.ok or not check.remedy else f"{check.found}: {check.remedy}"


def _python() -> Iterator[Check]:
    yield Check("python", sys.version_info >= (3, 11), True, platform.python_version(), "install Python 3.11 or newer")
    linux = sys.platform == "linux"
    yield Check("system", linux, True, f"{platform.system()} {platform.machine()}", "use Linux, or a Linux container")


def _packages() -> Iterator[Check]:
    for package, extra, purpose in _PARTS:
        remedy = f"pip install 'calmstorm[{extra}]' (for {purpose})"
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Check(package, False, False, "not installed", remedy)
            continue
        yield Check(package, util.find_spec(package) is not None, False, version, remedy)


def _isolation() -> Iterator[Check]:
    from calmstorm.interpreter import probe

    tiers = probe()
    isolated = [name for name, works, _ in tiers if works and name != "unsafe"]
    for name, works, reason in tiers:
        if name != "unsafe":
            yield Check(
                f"isolation: {name}", works, False, "works" if works else reason, "the next tier is used instead"
            )
    yield Check(
        "model-written code",
        bool(isolated),
        True,
        f"runs under {isolated[0]}" if isolated else "cannot be isolated",
        "allow user namespaces or Landlock, or accept the risk with --tier unsafe",
    )


def _solvers() -> Iterator[Check]:
    from calmstorm.interpreter import Interpreter, Limits

    try:
        interpreter = Interpreter(workers=1)
    except CalmstormError as error:
        yield Check("solvers", False, True, str(error), "fix isolation first")
        return
    with interpreter:
        bounded = "bounded by the kernel" if interpreter.memory_group else "measured ten times a second"
        remedy = "run in a control group that delegates memory: systemd-run --user --scope -p Delegate=yes ..."
        yield Check("memory of all processes", bool(interpreter.memory_group), False, bounded, remedy)
        for name, code in _SOLVER_SCRIPTS.items():
            execution = interpreter.run(code, Limits(wall_seconds=30))
            works = execution.stdout.strip() == "12.0"
            why = f"{execution.status.value} {(execution.stderr.strip().splitlines() or [''])[-1]}".strip()
            outcome = f"works, {1000 * execution.wall_seconds:.0f} ms" if works else why
            yield Check(
                f"solver: {name}", works, name == "pulp with CBC", outcome, "pip install --force-reinstall calmstorm"
            )


def _pocket() -> Iterator[Check]:
    from calmstorm.reasoner.opening import pocket_directory

    try:
        path = pocket_directory()
    except CalmstormError:
        yield Check("pocket model", False, False, "not in this installation", "install the released package")
        return
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    yield Check("pocket model", True, False, f"installed, {size / 1e6:.1f} MB")


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0))
    yield Check("cores", True, False, str(cores))
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield Check("memory", total >= 4, False, f"{total:.1f} GiB", "at least 4 GiB are advised")
    gpus = _gpus()
    yield Check("GPU", bool(gpus), False, ", ".join(gpus) or "none", "only large models need one; a server will do")
    if util.find_spec("torch") is not None:
        yield Check("models in this process", True, False, _IN_PROCESS)


def _gpus() -> list[str]:
    """Returns name and free memory of each GPU that torch sees."""
    if util.find_spec("torch") is None:
        return []
    cuda = importlib.import_module("torch").cuda
    found = []
    for number in range(cuda.device_count()):
        free, total = cuda.mem_get_info(number)
        found.append(f"{cuda.get_device_name(number)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    return found
