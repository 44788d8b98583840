"""`charter filter` and `charter import`: a new pair folder out of pairs from anywhere."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from charter.flagging import Doubts, check_flags, doubted_flags
from charter.run import versions
from constitution.faults import BadInput, Fault
from engine.decisions import check_known, read_decisions
from engine.filtering import Filter, write_filtered
from engine.flags import MEANINGS, count_flags
from engine.pairs import read_pairs, with_unique_ids, write_pairs
from engine.policies import flag_summary
from engine.settings import FlagPolicies, FlagSettings
from engine.storage import Folder

FAULTS_KEPT = 20


def filter_into(
    where: str,
    output: Folder,
    *,
    split: str | None,
    doubts: Doubts,
    decisions: str | None,
    policies: Mapping[str, Sequence[str]],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Filters pairs into a new folder and returns its manifest. `policies` are the flags that each policy is to have.
    Raises BadInput before anything is written."""
    given = _by_flag(policies)
    decided = read_decisions(decisions) if decisions else {}
    settings, found = doubted_flags(Folder(where), doubts, tell, split)
    settings = _with_policies(settings, given)
    check_known(decided, {flags.pair_id for flags in found}, decisions or "")
    sieve = Filter(settings, decided)
    origin = _origin(where) | {
        "decisions": decisions,
        "labels held against": doubts.told,
        "flags": flag_summary(count_flags(found), settings),
    }
    both = zip(read_pairs(where, split=split), found, strict=True)
    return write_filtered(output, both, sieve, origin)


def _by_flag(policies: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The policy of each flag that has one, and of `all`. Raises BadInput where a flag has two, or is none."""
    given = [(flag, policy) for policy, flags in policies.items() for flag in flags]
    last = dict(given)
    for flag, policy in given:
        if flag != "all":
            check_flags(f"--{policy}", [flag])
        if last[flag] != policy:
            message = f"'{flag}' is given to --{last[flag]} too"
            raise BadInput(Fault(message, where=f"--{policy}", hint="give each flag one policy"))
    return last


def _with_policies(settings: FlagSettings, by_flag: Mapping[str, str]) -> FlagSettings:
    """The settings with other policies. A flag's own policy goes before that of `all`."""
    everywhere = dict.fromkeys(MEANINGS, by_flag["all"]) if "all" in by_flag else {}
    own = {flag: policy for flag, policy in by_flag.items() if flag != "all"}
    chosen = settings.policies.model_dump() | everywhere | own
    return settings.model_copy(update={"policies": FlagPolicies.model_validate(chosen)})


def import_into(paths: Sequence[str], output: Folder, *, split: str | None, skip_bad_rows: bool) -> dict[str, Any]:
    """Imports foreign pairs into a new folder and returns its manifest. Raises BadInput."""
    skipped = 0
    faults: list[str] = []

    def note(fault: Fault) -> None:
        nonlocal skipped
        skipped += 1
        if len(faults) < FAULTS_KEPT:
            faults.append(str(fault))

    read = (read_pairs(path, split=split, on_fault=note if skip_bad_rows else None) for path in paths)
    try:
        count = write_pairs(output, with_unique_ids(itertools.chain.from_iterable(read)))
    except BaseException:
        output.delete("pairs")  # half an import is none
        raise
    manifest = {"pairs": count, "made": _origin(*paths), "rows_skipped": skipped, "skipped": faults}
    output.write_json("manifest.json", manifest)
    return manifest


def _origin(*sources: str) -> dict[str, Any]:
    """What a manifest says of where a pair folder came from."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "from": list(sources),
        "versions": versions(),
    }
