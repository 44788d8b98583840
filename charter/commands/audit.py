"""`charter audit`: which principles explain these preferences."""

from __future__ import annotations

import click

from charter.commands.asking import MODEL
from charter.commands.options import model_spec
from charter.commands.pairs import JSON, SPLIT, WHERE


@click.command()
@WHERE
@SPLIT
@click.option("--constitution", help="Have a judge apply every principle of this constitution to the pairs.")
@click.option("--model", help="With --constitution: the judge, a folder, a hub id or a served name.")
@click.option("--output", metavar="FOLDER", help="With --constitution: where the pairs go, with the judge's votes.")
@click.option("--limit", type=click.IntRange(min=1), help="With --constitution: a sample of so many pairs.")
@MODEL
@JSON
def audit(
    where: str,
    split: str | None,
    constitution: str | None,
    model: str | None,
    output: str | None,
    limit: int | None,
    backend: str,
    base_url: str | None,
    layout: str,
    *,
    few_shots: bool,
    as_json: bool,
) -> int:
    """Say which principles explain the labels of RUN_OR_FILE: how many pairs each covers, how often it wins, which
    principles say the same, and which plain features, such as length, do as well.

    The votes are those of the run. For pairs without votes, or to try another constitution, name a constitution, a
    model and an output: the judge is asked about every principle in both orders. Stopped, the same command goes on.
    """
    import json

    from charter.auditing import as_json_value, judge_into, tell_audit
    from charter.auditing import audit as audit_of
    from charter.relabelling import Judging
    from constitution import check_count, load_constitution
    from constitution.faults import BadInput, Fault
    from engine.backends.opening import check_model
    from prompts.rendering import PromptSet

    given = {"--constitution": constitution, "--model": model, "--output": output}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) in (1, 2):
        raise BadInput(Fault(f"{', '.join(missing)} missing", where="audit", hint=f"{', '.join(given)} go together"))
    if constitution and model and output:
        loaded = load_constitution(constitution)
        check_count(loaded, 1)
        judge = model_spec(model, backend, base_url)
        check_model(judge, "--model")
        asking = PromptSet.load(use_few_shots=few_shots, layout="paper" if layout == "paper" else "shared_first")
        judge_into(output, Judging(where, loaded, judge, asking, limit), split=split)
        where = output
    found = audit_of(where, split=None if output else split)
    if as_json:
        click.echo(json.dumps(as_json_value(found), indent=2))
    else:
        tell_audit(where, found)
    return 0
