"""The attacks once more, as a user without any privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ATTACKS = (
    "network_attacks",
    "process_attacks",
    "resource_bombs",
    "secrets_and_files",
    "spoofed_results",
    "odd_sources",
)
NOBODY = 65534
NEEDED = (
    *("numpy", "numpy.libs", "scipy", "scipy.libs", "pulp", "highspy", "highspy.libs", "sympy", "mpmath"),
    *("lazy_loader", "pydantic", "pydantic_core", "annotated_types", "typing_extensions.py", "typing_inspection"),
    *("_pytest", "pytest", "py.py", "pluggy", "iniconfig", "packaging", "pygments", "pytest_timeout.py"),
)
"""Of the installed packages: what the interpreter, the scripts and the tests import."""


def as_nobody(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def python_for_others() -> str | None:
    """A Python of this version that a stranger may execute."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin")):
        try:
            if candidate and as_nobody([candidate, "-c", ""]).returncode == 0:
                return candidate
        except PermissionError:
            continue
    return None


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    """A virtual environment with the tests in it, open to everyone."""
    python = python_for_others()
    if python is None:
        pytest.skip("no Python of this version can be executed by another user")
    place = Path(tempfile.mkdtemp(prefix="calmstorm-test-"))  # pytest closes its own to others
    place.chmod(0o755)
    subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages, installed = place / "lib" / version / "site-packages", Path(sysconfig.get_path("purelib"))
    for name in NEEDED:
        source = installed / name
        if source.is_dir():
            shutil.copytree(source, packages / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        elif source.exists():
            shutil.copy(source, packages)
    shutil.copytree(HERE.parents[1] / "src" / "calmstorm", packages / "calmstorm")
    shutil.copytree(
        HERE, place / "tests" / "interpreter", ignore=shutil.ignore_patterns("__pycache__", Path(__file__).name)
    )
    yield place
    shutil.rmtree(place)


@pytest.mark.engines
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs as an ordinary user already")
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_fail_for_an_ordinary_user_too(name: str, environment: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout", "300", "-c", "/dev/null"]
    options += ["--import-mode=importlib", "-o", f"pythonpath={environment}"]
    tests = environment / "tests" / "interpreter"
    command = [str(environment / "bin/python"), "-B", "-m", "pytest", *options, "--rootdir", str(environment)]
    done = as_nobody([*command, str(tests / f"test_{name}.py")])
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
