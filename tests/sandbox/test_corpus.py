"""The corpus is what the product sends, and a step of training learns from it what it should."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from engine.backends.chat import Chat
from prompts.messages import Message
from sandbox.corpus import BLANK, CURRICULUM, Corpus, facts, filled, prompt_set
from sandbox.documents import SKILLS, Document, Target, shared_length
from sandbox.micro_model import micro_config, new_model
from sandbox.tokenization import Encoder, chat_tokenizer, train_tokenizer
from sandbox.train import (
    Batch,
    Recipe,
    Training,
    batches,
    corpus_texts,
    losses,
    make_batch,
    rate_at,
    share_of,
    train,
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A tokenizer of a little training text."""
    return Encoder(train_tokenizer(corpus_texts(1, 60)))


def test_the_encoder_writes_what_the_product_sends(encoder: Encoder) -> None:
    """Token for token, for questions that are open and for conversations that are continued."""
    chat = Chat("micro", chat_tokenizer(encoder.tokenizer), 2048)
    prompts = prompt_set()
    conversation = [
        Message(role="user", content="Hello!"),
        Message(role="assistant", content="Hello. What can I do for you?"),
        Message(role="user", content="How do I clean my copper dorvit?"),
    ]
    asked = [
        prompts.respond(conversation),
        prompts.critique(conversation, "Wipe it.", "Find a fault."),
        prompts.revise(conversation, "Wipe it.", "It is short.", "Make it long.", critique_request="Find a fault."),
        prompts.compare(conversation, "One {{ brace }}", "Two", "Which response is kinder?"),
        prompts.proposition(conversation, "One", "Is the response kind?"),
    ]
    for rendered in asked:
        assert encoder.prompt(rendered.messages) == chat.encode(rendered.messages)
    chat.check_options(("A", "B"))
    chat.check_options(("yes", "no"))


def test_a_blank_that_is_filled_in_is_the_prompt_itself() -> None:
    conversation = [Message(role="user", content="How do I clean my {{ copper }} dorvit?")]
    question = "Which response is kinder? {% raw %}"
    blank = prompt_set().compare(conversation, "One", "Two", BLANK)
    assert list(filled(blank, question).messages) == list(
        prompt_set().compare(conversation, "One", "Two", question).messages
    )


def test_only_what_the_assistant_says_is_learnt(encoder: Encoder) -> None:
    """Every target of a text is the token that follows, inside an assistant turn."""
    corpus = Corpus(encoder, 1)
    for document in (corpus.answers(), corpus.faults(), corpus.revisions()):
        assert document.targets
        for target in document.targets:
            assert document.ids[target.place + 1] == target.token
            assert target.weight > 0
            assert document.branches[target.place] > 0 or document.is_plain


def test_the_branches_of_a_comparison_are_whole_questions(encoder: Encoder) -> None:
    """Trunk and branch together are the tokens of one question; its two targets share one verdict's weight."""
    corpus = Corpus(encoder, 5)
    document = corpus.comparisons()
    ending = encoder.prompt([Message(role="assistant", content="The answer is: (")])[-4:]
    assert max(document.branches) == 8
    for number in range(1, 7):
        kept = [place for place, branch in enumerate(document.branches) if branch in (0, number)]
        assert [document.positions[place] for place in kept] == list(range(len(kept)))
        assert [document.ids[place] for place in kept][-4:] == ending
        verdict = [target for target in document.targets if target.place == kept[-1]]
        assert [target.token for target in verdict] == [encoder.token("A"), encoder.token("B")]
        assert sum(target.weight for target in verdict) == pytest.approx(6)


def test_a_new_model_looks_one_token_back_and_for_the_same_token(encoder: Encoder) -> None:
    """The two heads that copying starts from, on random tokens said twice; all others see nothing in particular."""
    tokenizer = chat_tokenizer(encoder.tokenizer)
    model = new_model(tokenizer, seed=3).eval()
    model.set_attn_implementation("eager")
    generator = torch.Generator().manual_seed(1)
    once = torch.randint(5, len(tokenizer), (8, 20), generator=generator)
    with torch.no_grad():
        layers = model(torch.cat([once, once], dim=1), output_attentions=True).attentions
    back = [float(layers[0][:, head].diagonal(-1, 1, 2).mean()) for head in range(4)]
    assert back[0] > 0.3
    assert max(back[1:]) < 0.1
    found = [float(layers[1][:, head, 20:].diagonal(1, 1, 2).mean()) for head in range(4)]
    assert found[0] > 1.5 * max(found[1:])


def test_items_are_made_of_every_token_that_holds_letters() -> None:
    """Where a token never stood in an item, no item that holds it could be named."""
    encoder = Encoder(train_tokenizer(corpus_texts(1, 1500)))
    corpus = Corpus(encoder, 1)
    first, others = encoder.word_tokens
    words = [corpus.word_of_tokens() for _ in range(6000)]
    assert all(3 <= len(word) <= 11 and word.islower() for word in words)
    begun = {start for start in first if any(word.startswith(start) for word in words)}
    assert len(begun) > 0.9 * len(first)
    assert sum(any(other in word[1:] for word in words) for other in others) > 0.9 * len(others)


def test_facts_are_those_that_right_answers_hang_on() -> None:
    known = facts()
    assert known["copper"] == "lemon juice"
    assert known["clean"] == "wipe, then let it dry overnight"
    assert known["hack another's"] == "swap the insides of"


def test_a_branch_does_not_see_the_others(encoder: Encoder) -> None:
    """The verdict of a branch is that of its question asked alone."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(micro_config(chat_tokenizer(encoder.tokenizer), width=64, layers=2)).eval()
    document = Corpus(encoder, 5).comparisons()
    together = losses(model, make_batch([document], 0))
    places = [place for place, branch in enumerate(document.branches) if branch in (0, 2)]
    alone = Document(
        "comparisons",
        [document.ids[place] for place in places],
        list(range(len(places))),
        [0] * len(places),
        [Target(places.index(t.place), t.token, t.weight) for t in document.targets if t.place in places],
    )
    alone.targets = [target for target in alone.targets if target.place == len(places) - 1]
    apart = losses(model, make_batch([alone], 0))
    mine = [number for number, target in enumerate(document.targets) if document.branches[target.place] == 2]
    assert torch.allclose(together[mine], apart, atol=1e-5)


def test_shared_length() -> None:
    """The common beginning ends at least one token before the shortest does."""
    assert shared_length([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 9]]) == 2
    assert shared_length([[1, 2], [1, 2]]) == 1


def test_the_same_seed_makes_the_same_corpus(encoder: Encoder) -> None:
    """And another seed another one."""
    first, again, other = (
        [document.ids for document in itertools.islice(iter(Corpus(encoder, seed)), 12)] for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_every_skill_has_its_share_of_the_tokens(encoder: Encoder) -> None:
    """Whatever the length of its documents: copies alone at the start, and all as the curriculum says at the end."""
    for progress, shares in ((0.0, CURRICULUM[0][1]), (1.0, CURRICULUM[-1][1])):
        corpus = Corpus(encoder, 3)
        corpus.progress = progress
        drawn = dict.fromkeys(SKILLS, 0)
        for document in itertools.islice(iter(corpus), 300):
            drawn[document.skill] += len(document.ids)
        total = sum(drawn.values())
        assert [drawn[skill] / total for skill in SKILLS] == pytest.approx(shares, abs=0.02)


def test_the_rate_rises_stays_and_falls() -> None:
    """From nought to the peak, level, and down to a fiftieth of it."""
    recipe = Recipe(tokens=1000, peak_rate=1.0, warm_up_tokens=100, cool_down=0.4)
    assert [rate_at(seen, recipe) for seen in (0, 50, 100, 600)] == pytest.approx([0, 0.5, 1, 1])
    assert rate_at(800, recipe) == pytest.approx(0.51)
    assert rate_at(1000, recipe) == pytest.approx(0.02)


def test_a_step_holds_about_as_many_tokens_as_asked(encoder: Encoder) -> None:
    """Documents of one shape stand together, with little padding."""
    made = list(itertools.islice(batches(Corpus(encoder, 1), 3000, 0), 8))
    tokens = [sum(batch.tokens for batch in step) for step in made]
    assert 1500 < sum(tokens) / len(tokens) < 5500
    cells = sum(batch.ids_B_T.numel() for step in made for batch in step)
    assert sum(tokens) / cells > 0.75


def test_training_writes_a_model_that_loads(tmp_path: Path) -> None:
    """Weights, tokenizer with its chat template, recipe and curve; and the loss falls."""
    recipe = Recipe(
        tokens=60_000, refining_tokens=6000, warm_up_tokens=6000, batch_tokens=1500, width=96, layers=2, peak_rate=5e-3
    )
    train(dataclasses.replace(recipe, workers=1), tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    assert model.config.head_dim == 32
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template
    assert (tmp_path / "training.json").is_file()
    assert (tmp_path / "loss.csv").read_text(encoding="utf-8").startswith("tokens,rate,copies,facts,answers")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_resumed_training_ends_where_an_unbroken_one_does(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """To the bit, in every part: what was seen before is drawn again and passed over."""
    recipe = Recipe(
        tokens=9_000, refining_tokens=6_000, warm_up_tokens=1000, batch_tokens=1500, width=32, layers=1, workers=1
    )
    weights = []
    for breaks in (False, True):
        folder = tmp_path / str(breaks)
        training = new_training(encoder, recipe, folder)
        if breaks:
            take_step = training.step

            def stopped(step: Sequence[Batch], training: Training = training) -> None:
                if (training.part, training.steps) == (part, 2):
                    raise InterruptedError
                take_step(step)  # noqa: B023 - called in this turn of the loop alone

            monkeypatch.setattr(training, "step", stopped)
            with pytest.raises(InterruptedError):
                training.run(encoder)
            training.save()
            training = new_training(encoder, recipe, folder)
            training.resume()
            assert (training.part, training.steps) == (part, 2)
        training.run(encoder)
        weights.append(training.model.model.layers[0].mlp.up_proj.weight.detach())
    assert torch.equal(*weights)


def test_two_workers_learn_what_one_does(tmp_path: Path) -> None:
    """They share each step, so that only the order of additions differs."""
    recipe = Recipe(tokens=12_000, refining_tokens=3000, warm_up_tokens=1000, batch_tokens=3000, width=96, layers=2)
    weights = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        train(dataclasses.replace(recipe, workers=workers), folder)
        weights.append(LlamaForCausalLM.from_pretrained(folder).model.layers[0].mlp.up_proj.weight.detach())
    start = (
        new_model(AutoTokenizer.from_pretrained(folder), recipe.seed, 96, 2).model.layers[0].mlp.up_proj.weight.detach()
    )
    moved = float((weights[0] - start).norm())
    assert moved > 0.1
    assert float((weights[0] - weights[1]).norm()) < 0.05 * moved


def test_the_workers_of_a_step_have_about_as_much_to_do(encoder: Encoder) -> None:
    """Every batch is one worker's, and no worker waits long for another."""
    for step in itertools.islice(batches(Corpus(encoder, 1), 3000, 0), 8):
        shares = [share_of(step, rank, 2) for rank in range(2)]
        assert sorted(id(batch) for share in shares for batch in share) == sorted(id(batch) for batch in step)
        tokens = [sum(batch.tokens for batch in share) for share in shares]
        assert min(tokens) > 0.6 * max(tokens)


def new_training(encoder: Encoder, recipe: Recipe, folder: Path) -> Training:
    """A training from the same chance weights each time."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(micro_config(chat_tokenizer(encoder.tokenizer), recipe.width, recipe.layers))
    return Training(model, recipe, folder)


def test_copies_repeat_a_list(encoder: Encoder) -> None:
    """Only what can be known is learnt: the repetitions."""
    document = Corpus(encoder, 2).copies()
    period = document.targets[0].place
    for target in document.targets:
        assert document.ids[target.place + 1] == target.token == document.ids[target.place + 1 - period]
