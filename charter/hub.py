"""Pushing a folder to the Hugging Face hub: exactly the files that were shown, as one commit, private unless told.

    parcel_of(folder) ──► Parcel (what would go) ──shown, asked──► push ──► URL

The token is read from HF_TOKEN and handed to the hub's client; one that an earlier login stored is not used. The
endpoint is the client's own, which HF_ENDPOINT changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from constitution.faults import BadInput, CharterError, Fault
from engine.exporters.writing import MARKER
from engine.pairs import is_run_folder
from engine.storage import Folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Answer = TypeVar("Answer")
RepositoryType = Literal["dataset", "model"]
TOKEN = "HF_TOKEN"  # noqa: S105 - the variable's name
LEFT_HERE = (".lock", ".tmp", ".bin", ".pt", ".pth", ".pkl")
"""Endings that never go: locks, halves of files, and weights that run code when they are opened."""


class HubError(CharterError):
    """The hub refused or could not be reached."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What would go to the hub: files by their names in the folder, with their bytes, and what stays here."""

    folder: Path
    type: RepositoryType
    files: Sequence[tuple[str, int]]
    left_here: Sequence[str]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.files)


def parcel_of(folder: Path) -> Parcel:
    """The files of an export or of a model folder. Raises BadInput for any other folder."""
    place = str(folder)
    if not folder.is_dir():
        raise BadInput(Fault("there is no such folder", file=place))
    if is_run_folder(Folder(place)):
        hint = f"export it first: charter export {place} --format hugging-face"
        raise BadInput(Fault("a run folder holds logs and stages that nobody else needs", file=place, hint=hint))
    is_model = (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()
    if not is_model and not (folder / MARKER).is_file():
        hint = "name the folder of an export, or the model/ folder of a training"
        raise BadInput(Fault("it is neither an export nor a model", file=place, hint=hint))
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    going = [path for path in found if not path.name.endswith(LEFT_HERE)]
    return Parcel(
        folder=folder,
        type="model" if is_model else "dataset",
        files=[(path.relative_to(folder).as_posix(), path.stat().st_size) for path in going],
        left_here=[path.relative_to(folder).as_posix() for path in found if path not in going],
    )


def hub() -> HfApi:
    """The hub's client with the token of the environment. Raises BadInput where there is none."""
    from huggingface_hub import HfApi

    token = os.environ.get(TOKEN)
    if not token:
        raise BadInput(Fault(f"{TOKEN} is not set", where="push", hint="put a token that may write into it"))
    return HfApi(token=token)


def is_public(api: HfApi, repository: str, kind: RepositoryType) -> bool | None:
    """Whether everybody can see the repository; None where there is none yet. Raises HubError, BadInput."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return not _asked(lambda: api.repo_info(repository, repo_type=kind).private)
    except RepositoryNotFoundError:
        return None


def push(api: HfApi, parcel: Parcel, repository: str, *, public: bool, message: str) -> str:
    """Sends the parcel as one commit, and returns its address. A new repository is private unless `public`.

    Raises BadInput where the repository is public and a private one was asked for; HubError where the hub says no.
    """
    from huggingface_hub import CommitOperationAdd

    if is_public(api, repository, parcel.type) and not public:
        message = "it is public already, and what is sent there everybody can read"
        raise BadInput(Fault(message, where=f"repository {repository}", hint="say --public, or name another"))
    operations = [CommitOperationAdd(name, str(parcel.folder / name)) for name, _ in parcel.files]
    _asked(lambda: api.create_repo(repository, repo_type=parcel.type, private=not public, exist_ok=True))
    commit = _asked(lambda: api.create_commit(repository, operations, commit_message=message, repo_type=parcel.type))
    return str(commit.commit_url)


def _asked(call: Callable[[], Answer]) -> Answer:
    """The hub's answer. Raises HubError with its first line, which never holds the token; RepositoryNotFoundError."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        return call()
    except RepositoryNotFoundError:
        raise
    except HFValidationError as error:
        raise BadInput(Fault(str(error), where="repository", hint="write it as owner/name")) from None
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise HubError(f"the hub did not take it: {reason}") from None
