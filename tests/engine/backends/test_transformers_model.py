"""The transformers backend: batches, draws, and memory that runs out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from constitution.faults import BadInput
from engine.backends import decoding, key_values, transformers_model
from engine.backends.key_values import Prefixes, next_logits, plan, prefill, shared_length
from engine.backends.spec import ModelSpec
from engine.backends.transformers_model import TransformersModel, open_transformers
from engine.model import Completion, ModelUnavailable, Sampling
from tests.engine.backends_for_tests import Reference, asked, user
from tests.engine.tiny_model import BOS, END


@pytest.fixture
async def model(tiny_model: Path) -> AsyncIterator[TransformersModel]:
    opened = open_transformers(ModelSpec(model=str(tiny_model), batch_size=4))
    yield opened
    await opened.close()


async def test_a_seed_draws_the_same_text_whatever_it_is_batched_with(model: TransformersModel) -> None:
    sampling = Sampling(temperature=0.9, top_p=0.95, max_tokens=24, seed=5)
    alone = await model.generate(user("Which of these?"), sampling)

    async def crowded(width: int) -> Completion:
        others = [model.generate(user("a " * width * n), Sampling(max_tokens=8 * n, seed=n)) for n in range(1, 7)]
        return (await asyncio.gather(*others[:3], model.generate(user("Which of these?"), sampling), *others[3:]))[3]

    for width in (1, 7, 30):
        assert (await crowded(width)).text == alone.text


async def test_float64_gives_the_same_number_to_the_last_digit_in_any_batch(tiny_model: Path) -> None:
    exact = open_transformers(ModelSpec(model=str(tiny_model), batch_size=8, dtype="float64"))
    question = asked("Which of these? " + "a b c " * 9)
    alone = (await exact.choose(question, ("A", "B"))).log_probabilities
    for width in (1, 7, 30):
        others = [exact.choose(asked("a " * width * n), ("A", "B")) for n in range(1, 8)]
        together = await asyncio.gather(*others[:3], exact.choose(question, ("A", "B")), *others[3:])
        assert together[3].log_probabilities == alone
    await exact.close()


async def test_first_tokens_of_many_seeds_follow_the_nucleus(model: TransformersModel, tiny_model: Path) -> None:
    reference = Reference(tiny_model)
    written = f"{BOS}<|user|>\nWhich of these?{END}\n<|assistant|>\n"
    likeliest = reference.log_probabilities(reference.ids(written)).exp().topk(6)
    assert float(likeliest.values[:5].sum()) < 0.7 < float(likeliest.values.sum())
    sampling = [Sampling(temperature=1.0, top_p=0.7, max_tokens=1, seed=seed) for seed in range(500)]
    drawn = await asyncio.gather(*(model.generate(user("Which of these?"), each) for each in sampling))
    counts = Counter(completion.text for completion in drawn)
    texts = [reference.tokenizer.decode([token]).rstrip("�") for token in likeliest.indices.tolist()]
    assert set(counts) == set(texts)
    expected = 500 * likeliest.values.double() / likeliest.values.double().sum()
    assert chisquare([counts[text] for text in texts], expected.tolist()).pvalue > 0.01


async def test_a_short_answer_does_not_wait_for_a_long_one(model: TransformersModel) -> None:
    order: list[str] = []

    async def ask(name: str, length: int) -> None:
        await model.generate(user(f"Tell {name}"), Sampling(temperature=0.0, max_tokens=length))
        order.append(name)

    long = [ask(f"long {n}", 400) for n in range(2)]
    await asyncio.gather(*long, *(ask(f"short {n}", 4) for n in range(8)))
    assert {name.split()[0] for name in order[:8]} == {"short"}


async def test_prompts_that_come_one_by_one_are_computed_together(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def counted(model: Any, prompts: Any, *rest: Any) -> Any:
        computed.append(len(prompts))
        return prefill(model, prompts, *rest)

    monkeypatch.setattr(transformers_model, "prefill", counted)
    model = open_transformers(ModelSpec(model=str(tiny_model), batch_size=32))
    lengths = [4 + number % 32 for number in range(96)]
    calls = [model.generate(user("Tell"), Sampling(temperature=0.0, max_tokens=length)) for length in lengths]
    completions = await asyncio.gather(*calls)
    await model.close()
    longest = max(completions, key=lambda completion: completion.completion_tokens)
    assert all(longest.text.startswith(completion.text) for completion in completions)
    assert sum(computed) == 96
    assert len(computed) <= 1 + 64 // 4


async def test_a_lone_prompt_joins_rows_that_decode(tiny_model: Path) -> None:
    model = open_transformers(ModelSpec(model=str(tiny_model), batch_size=64))
    long = asyncio.create_task(model.generate(user("long"), Sampling(temperature=0.0, max_tokens=4000)))
    await asyncio.sleep(0.05)
    await model.generate(user("short"), Sampling(temperature=0.0, max_tokens=4))
    assert not long.done()
    long.cancel()
    await model.close()


async def test_the_loop_stays_free_while_the_model_works(model: TransformersModel) -> None:
    work = asyncio.create_task(model.generate(user("Tell"), Sampling(temperature=0.0, max_tokens=200)))
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100


async def test_computed_and_cached_tokens_add_up(model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    plain = key_values.forward

    def counted(model: Any, ids: torch.Tensor, mask: torch.Tensor, before: Any) -> Any:
        new = int(mask[:, -ids.shape[1] :].sum())
        computed.append(new)
        return plain(model, ids, mask, before)

    monkeypatch.setattr(key_values, "forward", counted)
    shared = "Here are two answers. " * 20
    questions = [asked(f"{shared} Principle {n}: be kind.") for n in range(12)]
    choices = await asyncio.gather(*(model.choose(question, ("A", "B")) for question in questions))
    prompts, cached = sum(c.prompt_tokens for c in choices), sum(c.cached_tokens for c in choices)
    assert sum(computed) == prompts - cached
    assert cached > 0.7 * prompts


async def test_memory_that_runs_out_halves_the_batch(model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=12)
    expected = [(await model.generate(user(f"Case {n}"), sampling)).text for n in range(6)]
    verdicts = [await model.choose(asked(f"Case {n}"), ("A", "B")) for n in range(6)]
    widths = []

    def scarce(plain: Any, rows: int) -> Any:
        def limited(model: Any, batch: Any, *rest: Any) -> Any:
            widths.append(len(batch))
            if len(batch) > rows:
                raise torch.OutOfMemoryError("out of memory")
            return plain(model, batch, *rest)

        return limited

    monkeypatch.setattr(transformers_model, "prefill", scarce(prefill, 3))
    monkeypatch.setattr(decoding, "next_logits", scarce(next_logits, 2))
    completions = await asyncio.gather(*(model.generate(user(f"Case {n}"), sampling) for n in range(6)))
    assert [completion.text for completion in completions] == expected
    assert max(widths) > 2
    choices = await asyncio.gather(*(model.choose(asked(f"Case {n}"), ("A", "B")) for n in range(6)))
    for choice, verdict in zip(choices, verdicts, strict=True):
        assert choice.log_probabilities == pytest.approx(verdict.log_probabilities, abs=1e-4)


async def test_a_row_too_large_for_the_memory_is_named(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(transformers_model, "prefill", scarce)
    with pytest.raises(ModelUnavailable, match="out of memory"):
        await model.generate(user("x"), Sampling())
    with pytest.raises(ModelUnavailable, match="out of memory"):
        await model.choose(asked("x"), ("A", "B"))


async def test_a_cancelled_call_leaves_the_others_alone(model: TransformersModel) -> None:
    long = asyncio.create_task(model.generate(user("long"), Sampling(temperature=0.0, max_tokens=4000)))
    await asyncio.sleep(0.05)
    long.cancel()
    completion = await model.generate(user("short"), Sampling(temperature=0.0, max_tokens=4))
    assert completion.completion_tokens == 4


async def test_closing_fails_what_is_under_way_and_what_comes_after(tiny_model: Path) -> None:
    model = open_transformers(ModelSpec(model=str(tiny_model)))
    waiting = asyncio.create_task(model.generate(user("long"), Sampling(temperature=0.0, max_tokens=7000)))
    await asyncio.sleep(0.05)
    await model.close()
    with pytest.raises(ModelUnavailable, match="closed"):
        await waiting
    with pytest.raises(ModelUnavailable, match="closed"):
        await model.generate(user("x"), Sampling())


async def test_an_error_outside_a_batch_fails_the_calls_instead_of_hanging(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise IndexError("a mistake of ours")

    monkeypatch.setattr(transformers_model, "plan", broken)
    with pytest.raises(ModelUnavailable, match="a mistake of ours"):
        await model.generate(user("x"), Sampling())
    with pytest.raises(ModelUnavailable):
        await model.generate(user("x"), Sampling())


def test_a_folder_that_is_no_language_model_is_bad_input(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace('"llama"', '"no_such_kind"'), encoding="utf-8")
    with pytest.raises(BadInput, match="transformers cannot run this model"):
        open_transformers(ModelSpec(model=str(folder)))


def test_prompts_that_share_half_meet_in_one_group() -> None:
    first, second = list(range(200)), list(range(500, 700))
    prompts = [[*first, 1], [*second, 1], [7] * 30, [*first, 2], [*second, 2], [*first, 3], [8] * 31]
    groups = plan(prompts, limit=2)
    assert sorted(index for group in groups for index in group) == list(range(7))
    assert {frozenset(group) for group in groups} >= {frozenset({0, 3}), frozenset({1, 4})}
    assert all(len(group) <= 2 for group in groups)


def test_prompts_of_like_length_meet_where_little_is_shared() -> None:
    prompts = [[number] * length for number, length in enumerate([20, 300, 22, 310, 21, 90])]
    assert plan(prompts, limit=8) == [[0, 4, 2], [5], [1, 3]]
    assert plan([[1] * 20 + [2], [1] * 20 + [3]], limit=8) == [[0, 1]]


def test_shared_lengths() -> None:
    assert shared_length([1, 2, 3], [1, 2, 4]) == 2
    assert shared_length([1, 2], [1, 2, 4]) == 2
    assert shared_length([1], [2]) == 0
    assert shared_length([], [2]) == 0


def test_few_prefixes_are_kept_the_latest_first() -> None:
    prefixes = Prefixes()
    for start in range(10):
        prefixes.remember([start, 1, 2], [(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))])
    assert [ids[0] for ids, _ in prefixes.stored] == [9, 8, 7, 6]
    length, key_values = prefixes.longest([7, 1, 5])
    assert length == 2
    assert key_values[0][0].shape == (1, 1, 2, 2)
    assert prefixes.longest([0, 1, 2]) == (0, [])
