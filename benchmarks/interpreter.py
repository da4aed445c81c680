"""The interpreter against in-process exec and what people use instead: latency, CPU time, throughput, start-up.

    python benchmarks/interpreter.py [--rounds 20] [--workers 1 2 4] [--scripts PATH ...] [--only APPROACH,...]
                                     [--json FILE] [--plot FILE.html]

All approaches are measured in the same run, taking turns. Each lives in a process of its own, and its CPU time is that
of all its processes. Latency is measured by one caller (of two workers, where the approach has workers), after a pause
of 0.1 s, in which a waiting child is forked, and back to back. Throughput is that of the mix, as the median of short
windows; the floor is `exec` in as many processes as there are workers. An approach must print what in-process exec
prints. Sympy's cache is emptied before each script in processes that run several: the mix repeats a script, a model's
next script is new. The default of 20 rounds takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from interpreting import plots, tables
from interpreting.approaches import FLOOR, KINDS
from interpreting.results import checks, machine
from interpreting.rounds import measure

from calmstorm.errors import InputError

_SCRIPTS = Path(__file__).parent / "interpreter_scripts"


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="visits to each approach with each script")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4], help="none: no throughput")
    parser.add_argument("--scripts", type=Path, nargs="+", default=[_SCRIPTS], help="the mix: files, or directories")
    parser.add_argument("--only", help=f"of {', '.join(KINDS)}; {FLOOR} is always measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, and the machine")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="charts, on one page that needs no network")
    options = parser.parse_args()
    only = list(KINDS) if options.only is None else options.only.split(",")
    unknown = set(only) - set(KINDS)
    if unknown:
        parser.error(f"--only has {', '.join(sorted(unknown))}; choose from {', '.join(KINDS)}")
    if options.rounds < 1 or min(options.workers, default=1) < 1:
        parser.error("--rounds and --workers must be >= 1")
    paths = _files(options.scripts)
    if not paths or len({path.stem for path in paths}) < len(paths):
        parser.error("--scripts must name at least one .py file, and no two of the same name")
    names = [name for name in KINDS if name == FLOOR or name in only]
    try:
        results = measure(names, paths, options.rounds, options.workers)
    except InputError as error:
        parser.error(str(error))
    targets = checks(results, paths)
    tables.show(results, options.workers, targets)
    if options.plot:
        plots.write(options.plot, results, targets, machine())
    if options.json:
        document = {
            "machine": machine(),
            "rounds": options.rounds,
            **results.as_json(),
            "checks": [{**vars(check), "met": check.met} for check in targets],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _files(paths: Sequence[Path]) -> list[Path]:
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return [file.resolve() for file in files if file.is_file()]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
