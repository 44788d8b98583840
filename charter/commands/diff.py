"""`charter diff`: which labels changed between two runs, and why."""

from __future__ import annotations

import click

from charter.commands.pairs import JSON


@click.command()
@click.argument("before", metavar="RUN_A")
@click.argument("after", metavar="RUN_B")
@JSON
def diff(before: str, after: str, *, as_json: bool) -> int:
    """Show which labels of RUN_A are different in RUN_B, and which principle made each different.

    Made for two runs with the same prompts, responder and seed, before and after an edit of the constitution: their
    pairs are then the same.
    """
    import json

    from charter.comparing import as_json_value, compare_runs, tell_difference

    found = compare_runs(before, after)
    if as_json:
        click.echo(json.dumps(as_json_value(found), indent=2))
    else:
        tell_difference(found)
    return 0
