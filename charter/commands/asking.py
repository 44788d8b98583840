"""`charter constitution render` and `test`: what a judge is really sent, and whether it decides the tests rightly."""

from __future__ import annotations

import click

from charter.commands.options import BACKEND, model_spec, shared

MODEL = shared(
    BACKEND,
    click.option(
        "--layout",
        type=click.Choice(["shared_first", "paper"]),
        default="shared_first",
        show_default=True,
        help="The principle last, so that all share a cached prefix, or in the paper's place.",
    ),
    click.option("--few-shots/--no-few-shots", default=True, show_default=True, help="Send worked examples."),
)

NEEDED = {"compare": "comparison", "reason": "comparison", "critique": "critique", "revise": "revision"}
"""Step: the text of a principle that it puts to the model. A proposition needs a proposition."""


@click.command(short_help="Print what a model is sent under a principle.")
@click.argument("constitution")
@click.option("--principle", "principle_id", help="Its id; the first that serves the step where it is not given.")
@click.option(
    "--step", type=click.Choice([*NEEDED, "proposition"]), default="compare", show_default=True, help="Of a run."
)
@click.option("--prompt", default="How do I boil an egg?", show_default=True, help="What the user says.")
@click.option(
    "--response",
    default="Put it in boiling water for eight minutes.",
    show_default=True,
    help="What the model answers.",
)
@click.option("--other", default="Eggs? Look it up yourself.", show_default=True, help="The second response.")
@click.option("--model", help="Count the tokens as this model does: a folder, a hub id, a served name.")
@MODEL
def render(
    constitution: str,
    principle_id: str | None,
    step: str,
    prompt: str,
    response: str,
    other: str,
    model: str | None,
    backend: str,
    base_url: str | None,
    layout: str,
    few_shots: bool,
) -> int:
    """Print what a model is sent under one principle of CONSTITUTION, word for word; comparisons in both orders."""
    from charter.showing import printable
    from constitution.loading import load_constitution
    from engine.backends.opening import open_tokenizer
    from prompts.rendering import PromptSet, Rendered

    loaded = load_constitution(constitution)
    needed = NEEDED.get(step, "propositions")
    serving = [each for each in loaded.principles if getattr(each, needed)] or list(loaded.principles)
    principle = loaded.principle(principle_id or serving[0].id)
    asking = PromptSet.load(use_few_shots=few_shots, layout="paper" if layout == "paper" else "shared_first")
    rendered: dict[str, Rendered] = {}
    conversation = [{"role": "user", "content": prompt}]
    question = _text_of(principle.comparison, principle.id, "comparison") if step in ("compare", "reason") else ""
    if step in ("compare", "reason"):
        ask = asking.compare if step == "compare" else asking.reason
        rendered["response a as (A)"] = ask(conversation, response, other, question)  # type: ignore[arg-type]
        rendered["response b as (A)"] = ask(conversation, other, response, question)  # type: ignore[arg-type]
    elif step == "proposition":
        for item in principle.propositions:
            rendered[f"proposition {item.id}"] = asking.proposition(conversation, response, item.question)  # type: ignore[arg-type]
    else:
        critique = _text_of(principle.critique, principle.id, "critique")
        revision = _text_of(principle.revision, principle.id, "revision")
        rendered[step] = (
            asking.critique(conversation, response, critique)  # type: ignore[arg-type]
            if step == "critique"
            else asking.revise(conversation, response, "(the critique)", revision, critique_request=critique)  # type: ignore[arg-type]
        )
    counter = open_tokenizer(model_spec(model, backend, base_url)) if model else None
    for name, asked in rendered.items():
        click.secho(f"--- {principle.id}, {name}, template {asked.template_hash}", bold=True)
        for message in asked.messages:
            click.secho(f"{message['role']}:", bold=True)
            click.echo(printable(message["content"]))
        click.echo(f"options: {', '.join(asked.options) or 'none, text is written'}")
        if counter is not None:
            click.echo(f"tokens: {counter.count_tokens(asked.messages):,} of a window of {counter.context_window:,}")
        click.echo()
    if not rendered:
        click.echo(f"principle {principle.id} has no propositions")
    return 0


def _text_of(text: str | None, principle_id: str, key: str) -> str:
    from constitution.faults import BadInput, Fault

    if text is None:
        hint = f"add a '{key}' text to it, or choose another --step"
        raise BadInput(Fault(f"it has no '{key}' text", where=f"principle '{principle_id}'", hint=hint))
    return text


@click.command(short_help="Put a constitution's tests to a judge.")
@click.argument("constitution")
@click.option("--model", required=True, help="The judge: a folder, a hub id, a served name, or a script.")
@click.option("--principle", "principle_ids", multiple=True, help="Only this principle; may be given several times.")
@click.option("--min-accuracy", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Of all tests.")
@MODEL
def test(
    constitution: str,
    model: str,
    principle_ids: tuple[str, ...],
    min_accuracy: float,
    backend: str,
    base_url: str | None,
    layout: str,
    few_shots: bool,
) -> int:
    """Put the tests of CONSTITUTION to a judge, in both orders.

    Exit status 1 where fewer than --min-accuracy of the tests are decided rightly. A tie or a test that the judge
    does not answer is not right.
    """
    from charter.judging import run_tests, tell_tests
    from constitution.loading import load_constitution
    from prompts.rendering import PromptSet

    loaded = load_constitution(constitution)
    chosen = [loaded.principle(name) for name in principle_ids] or list(loaded.principles)
    asking = PromptSet.load(use_few_shots=few_shots, layout="paper" if layout == "paper" else "shared_first")
    results = run_tests(loaded, chosen, model_spec(model, backend, base_url), asking)
    return 0 if tell_tests(results) >= min_accuracy else 1
