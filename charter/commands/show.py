"""`charter show`: one pair, and everything behind it."""

from __future__ import annotations

import click

from charter.commands.pairs import JSON, SPLIT, WHERE


@click.command()
@WHERE
@click.argument("pair_id", metavar="ID")
@SPLIT
@click.option("--full", is_flag=True, help="Every question as it was sent, few-shots and long texts in full.")
@JSON
def show(where: str, pair_id: str, split: str | None, *, full: bool, as_json: bool) -> int:
    """Show the pair ID of RUN_OR_FILE: prompt, both answers with their differences marked, flags, label, votes, checks,
    what the models were sent and what they said.

    The beginning of an id will do where only one pair has it. Of a run's questions to the judge, the first of each kind
    is shown unless --full is given.
    """
    import json

    from charter.pair_showing import as_json_value, find_story, tell_story

    story = find_story(where, pair_id, split=split)
    if as_json:
        click.echo(json.dumps(as_json_value(story), indent=2))
    else:
        tell_story(story, full=full)
    return 0
