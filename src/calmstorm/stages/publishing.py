"""A trained model onto the Hugging Face hub: the files of its directory, byte for byte, in one commit.

A commit is whole or absent, so that an interrupted push leaves the repository as it was; what had been transferred is
not sent again. The token comes from HF_TOKEN alone and is never shown. Not covered: data sets, pull requests.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from calmstorm.errors import InfrastructureError, InputError, MissingExtraError, WorkError
from calmstorm.progress import note
from calmstorm.records import Record
from calmstorm.report.model_card import CARD

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

T = TypeVar("T")

FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.md", "LICENSE*")
"""What belongs to a model and is uploaded; anything else in the directory stays there."""
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
PAUSES = (1.0, 5.0, 20.0)
"""Seconds before each further attempt, where the hub cannot be reached or is busy."""


class PushedFile(Record):
    """One file of a model."""

    name: str
    bytes: int
    state: str = ""
    """`new`, `changed` or `unchanged` in the repository, or `removed` from it; empty where it was not asked."""


class Pushed(Record):
    """What became of a push."""

    directory: str
    repository: str
    revision: str
    private: bool
    files: tuple[PushedFile, ...]
    url: str | None = None
    commit: str | None = None
    """None where nothing was uploaded."""


def model_files(directory: Path) -> list[Path]:
    """Returns the files of a complete model directory.

    Raises:
        InputError: It is no model, or part of it is missing or cut off.
    """
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory}: holds no config.json, so it is no model: name a run or a model directory")
    if not any((directory / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{directory}: holds no tokenizer ({', '.join(TOKENIZERS)}): a model is pushed with its own")
    for path in _weights(directory):
        if not path.is_file():
            raise InputError(f"{path} is missing: the model is not complete; train it to its end, or copy it again")
        if not _is_whole(path):
            raise InputError(f"{path} is cut off or damaged: train the model to its end, or copy it again")
    every = sorted(path for path in directory.iterdir() if path.is_file())
    return [path for path in every if any(fnmatch(path.name, pattern) for pattern in FILES)]


def push(directory: Path, repository: str, *, private: bool, revision: str = "main", dry_run: bool = False) -> Pushed:
    """Uploads a model directory in one commit; what the repository has already is not sent.

    Args:
        directory: Of a complete model.
        repository: `owner/name`; created where it does not exist.
        private: Whether others may not see it.
        revision: Branch; created where it does not exist.
        dry_run: Only say what would be uploaded.

    Raises:
        InputError: No complete model, no valid name, no token, or the hub refuses it.
        InfrastructureError: The hub cannot be reached, or fails.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    files = model_files(directory)
    _check_name(repository)
    listed = tuple(PushedFile(name=path.name, bytes=path.stat().st_size) for path in files)
    planned = Pushed(directory=str(directory), repository=repository, revision=revision, private=private, files=listed)
    if CARD not in {path.name for path in files}:
        note(f"{directory} has no model card ({CARD}): nothing on the hub will say what the model is")
    elif "\nlicense:" not in (directory / CARD).read_text(encoding="utf-8").partition("\n---\n")[0]:
        note(f"{directory / CARD} names no licence: choose one and add it to the front matter (license: ...)")
    if dry_run:
        return planned
    return _Upload(_api(), repository, revision).run(planned, files)


class _Upload:
    """One push to one repository."""

    def __init__(self, api: HfApi, repository: str, revision: str) -> None:
        self.api = api
        self.repository = repository
        self.revision = revision

    def run(self, planned: Pushed, files: Sequence[Path]) -> Pushed:
        """Creates what is missing and uploads what differs."""
        self._create(planned.private)
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        additions = {path.name: CommitOperationAdd(path.name, str(path)) for path in files}
        there = self._remote()
        states = {name: _state(addition, there.get(name)) for name, addition in additions.items()}
        stale = [name for name in there if _is_weight(name) and name not in additions]
        changed = [addition for name, addition in additions.items() if states[name] != "unchanged"]
        listed = [file.model_copy(update={"state": states[file.name]}) for file in planned.files]
        listed += [PushedFile(name=name, bytes=0, state="removed") for name in stale]
        result = planned.model_copy(update={"files": tuple(listed), "url": f"{self.api.endpoint}/{self.repository}"})
        if not changed and not stale:
            return result
        size = sum(addition.upload_info.size for addition in changed)
        note(f"uploading {len(changed)} of {len(files)} files, {size / 1e6:,.1f} MB, to {self.repository}")

        def commit() -> str:
            # Made anew for each attempt: an operation remembers how far it came.
            again = [CommitOperationAdd(addition.path_in_repo, addition.path_or_fileobj) for addition in changed]
            removed = [CommitOperationDelete(name) for name in stale]
            made = self.api.create_commit(
                self.repository,
                [*again, *removed],
                commit_message="Upload a model with calmstorm",
                revision=self.revision,
            )
            return str(made.oid)

        return result.model_copy(update={"commit": self._asked(commit)})

    def _create(self, private: bool) -> None:
        """Creates repository and branch where they are missing; one that others can see is not taken for private."""
        self._asked(lambda: self.api.create_repo(self.repository, private=private, exist_ok=True))
        info = self._asked(lambda: self.api.model_info(self.repository))
        if private and info.private is False:
            raise InputError(
                f"{self.repository} exists and everybody can see it: give --public to push there all the same, "
                "or name another"
            )
        if self.revision != "main":
            self._asked(lambda: self.api.create_branch(self.repository, branch=self.revision, exist_ok=True))

    def _remote(self) -> dict[str, str]:
        """Returns what the repository has: by name the hash of the content, or of the git object of small files."""
        from huggingface_hub.hf_api import RepoFile

        tree = self._asked(lambda: list(self.api.list_repo_tree(self.repository, revision=self.revision)))
        files = [entry for entry in tree if isinstance(entry, RepoFile)]
        return {file.path: file.lfs.sha256 if file.lfs is not None else file.blob_id for file in files}

    def _asked(self, request: Callable[[], T]) -> T:
        """Makes a request, several times where that may help.

        Raises:
            InputError: The hub refuses it.
            InfrastructureError: It cannot be reached, or keeps failing.
        """
        for pause in (*PAUSES, None):
            try:
                return request()
            except Exception as error:  # the hub's library and its transports raise almost anything
                failure = _failure(error, self.repository, self.revision, self.api.endpoint)
                if pause is None or not isinstance(failure, InfrastructureError):
                    raise failure from None
                note(f"{failure}; trying again in {pause:g} s")
                time.sleep(pause)
        raise AssertionError


def _api() -> HfApi:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise InputError("HF_TOKEN is not set; uploading needs a token with write access: export HF_TOKEN=...")
    if not token.isascii() or not token.isprintable() or " " in token:  # an error about the header would quote it
        raise InputError("HF_TOKEN holds characters that no token has: copy it again")
    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token, library_name="calmstorm")


def _check_name(repository: str) -> None:
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils._validators import validate_repo_id
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        rule = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{repository!r} is no name of a repository ({rule}): name one like you/model") from None
    if "/" not in repository:
        raise InputError(f"{repository!r} names no owner; it must be owner/name: name one like you/{repository}")


def _failure(error: Exception, repository: str, revision: str, endpoint: str) -> InputError | WorkError:
    """Returns what to tell the user of a failed request, on one line and without what was sent."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HTTPError):
        cause = cause.__cause__  # a failed transfer comes wrapped
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if status == 401:
        return InputError(
            f"the hub does not know the token in HF_TOKEN (401): make one with write access at {endpoint}"
        )
    if status == 403:
        return InputError(
            f"the token in HF_TOKEN may not write to {repository} (403): take one with write access to it"
        )
    if status == 404:
        return InputError(f"the hub has no {repository} at {revision} for this token (404): correct owner and name")
    if status is not None and status != 429 and status < 500:
        said = " ".join(str(getattr(cause, "server_message", "") or "").split())[:200]
        return InputError(f"the hub refuses the upload to {repository} ({status}){f': {said}' if said else ''}")
    if status is not None:
        return InfrastructureError(
            f"the hub fails for now ({status}): push again later, which goes on from what arrived"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return InputError("HF_HUB_OFFLINE is set, and nothing can be uploaded without the hub: unset it")
    if isinstance(cause, HTTPError) or isinstance(error, ConnectionError):
        return InfrastructureError(
            f"{endpoint} cannot be reached ({type(cause or error).__name__}): check connection and HF_ENDPOINT"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return WorkError(f"{error.filename or 'a file'}: {error.strerror}; make it readable and push again")
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    said = " ".join(str(error).split())[:200]
    return WorkError(f"the upload to {repository} failed ({type(error).__name__}: {said}); push again")


def _state(addition: CommitOperationAdd, remote: str | None) -> str:
    """Compares a file with what the repository has; small files go by their git object, large ones by content."""
    if remote is None:
        return "new"
    if len(remote) == 64:
        return "unchanged" if addition.upload_info.sha256.hex() == remote else "changed"
    content = Path(str(addition.path_or_fileobj)).read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return "unchanged" if git == remote else "changed"


def _is_weight(name: str) -> bool:
    return "/" not in name and (name.endswith(".safetensors") or name == INDEX)


def _weights(directory: Path) -> list[Path]:
    """Returns the files that hold the weights, whether they are there or not."""
    index = directory / INDEX
    if not index.is_file():
        return [directory / "model.safetensors"]
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{index} is no index of weights: save the model again") from None
    return [directory / Path(name).name for name in sorted(names)]


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            tensors = json.loads(file.read(min(header, 100_000_000)))
        end = max((entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False
    return bool(path.stat().st_size == 8 + header + end)
