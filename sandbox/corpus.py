"""The training text: conversations, critiques and revisions, comparisons and propositions, as the product asks them.

    copies        fresh words, or any tokens, said again
    facts         what follows from a word, whether one goes with another, and what a principle looks for
    answers       a conversation of one to three requests, each complied with or answered rightly
    faults        conversation, answer ► what is wrong with it, whatever it is
    revisions     conversation, answer, critique request ► critique, revision request ► revision
    comparisons   conversation, two answers ► questions, each with P(A is better)
    propositions  conversation, one answer ► questions, each with P(yes)

Every document is rendered by the product's own `PromptSet` and the tokenizer's chat template, so that what is trained
on is byte for byte what the chains send. A document is a trunk of tokens and branches that go on from it, each unseen
by the others: many questions about one pair of answers cost little more than one.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from prompts.messages import Message
from prompts.reading import NO_CHANGE
from prompts.rendering import PromptSet, Rendered
from sandbox import skills
from sandbox.answers import AnswerKind, answer
from sandbox.documents import SKILLS, Branch, Document, Skill, Target, joined
from sandbox.oracle import Judgement, judge, logistic, score
from sandbox.phrasings import VECTORS, Question, ask
from sandbox.principles import Concern, Principle, Topic, draw_principle
from sandbox.splits import Split
from sandbox.tokenization import SPECIAL, Encoder
from sandbox.world import KINDS, Group, data, draw_request, fresh_item, is_free, items

CURRICULUM: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.03, (1.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00)),
    (0.14, (0.15, 0.25, 0.60, 0.00, 0.00, 0.00, 0.00)),
    (0.24, (0.06, 0.12, 0.36, 0.46, 0.00, 0.00, 0.00)),
    (0.40, (0.04, 0.10, 0.20, 0.17, 0.31, 0.18, 0.00)),
    (1.00, (0.02, 0.06, 0.15, 0.13, 0.23, 0.16, 0.25)),
)
"""Up to which share of the training, and the share of the tokens that each skill has until then. To name an item one
must copy it; to criticise an answer one must see what is wrong with it before asking what a principle makes of it; to
compare two one must see it in both."""
REFINED = (0.02, 0.05, 0.15, 0.06, 0.31, 0.16, 0.25)
"""The same for the last part of the training, in which critiques tick off facts."""
VERDICT = 6.0
"""A verdict counts as much as this many tokens of text, and so does the token of a critique that decides whether
anything is wrong."""
LOOKED_FOR = 2.0
"""What a token counts that says what a critique looks for."""
PUSHED: dict[str, float] = {"": 0.45, **dict.fromkeys(VECTORS, 0.1), "misspelling": 0.15}
"""How often a question is pushed in each way: misspelling most, since verbs have to be known in every disguise."""
CONCERN_OF: dict[str, Concern] = {"illicit": "illicit", "hateful": "hateful", "unqualified_advice": "advice"}
"""What is wrong with complying, for each category."""
WIDER: dict[Topic, tuple[Topic, ...]] = {
    "illicit": ("illicit", "illicit", "illicit", "all", "harm"),
    "hateful": ("hateful", "hateful", "hateful", "all", "harm"),
    "advice": ("advice", "advice", "advice", "certainty", "all", "harm"),
    "wrong": ("wrong", "wrong", "wrong", "certainty", "completeness", "all"),
    "evasive": ("evasive", "evasive", "evasive", "completeness", "all"),
    "preachy": ("preachy", "preachy", "preachy", "all"),
}
"""Topics that look for a problem, its own most often."""
FRESH = 0.6
"""The share of documents about words that were never seen before."""


@functools.cache
def prompt_set() -> PromptSet:
    """The product's prompts without few-shots, as the embedded demo asks."""
    return PromptSet.load(use_few_shots=False)


@functools.cache
def facts() -> dict[str, str]:
    """What follows from each material, form, role and verb of the world."""
    acts = data("acts")
    found = {word: str(means) for table in ("materials", "forms", "roles") for word, means in acts[table].items()}
    for kind in ("care", "remedy", "remedy_double", "double"):
        found |= {each["verb"]: f"{each['action']}, then {each['finish']}" for each in acts[kind]}
    found |= {each["verb"]: each["deed"] for each in acts["illicit"]}
    return found | {f"{each['verb']} another's": each["deed"] for each in acts["double"]}


class Corpus:
    """An endless, seeded stream of documents of one split."""

    def __init__(self, encoder: Encoder, seed: int, split: Split = "train", *, refining: bool = False) -> None:
        self.encoder = encoder
        self.refining = refining
        """Whether critiques tick off the facts that they look for: which ones these are has to be learnt before."""
        self.chance = random.Random(seed)  # noqa: S311 - meant to be repeatable
        self.split: Split = split
        self.progress = 0.0
        """How much of the training is done, in [0, 1]: set by whoever trains."""

    def __iter__(self) -> Iterator[Document]:
        makers = {
            "copies": self.copies,
            "facts": self.facts,
            "answers": self.answers,
            "faults": self.faults,
            "revisions": self.revisions,
            "comparisons": self.comparisons,
            "propositions": self.propositions,
        }
        phase: tuple[float, ...] = ()
        drawn: dict[Skill, int] = {}
        while True:
            shares: tuple[float, ...] = REFINED
            if not self.refining:
                shares = next(shares for until, shares in CURRICULUM if self.progress <= until)
            if shares != phase:
                phase, drawn = shares, dict.fromkeys(SKILLS, 0)
            total = sum(drawn.values())
            behind = [share * total - drawn[skill] for skill, share in zip(SKILLS, shares, strict=True)]
            started = [skill for skill, share in zip(SKILLS, shares, strict=True) if share]
            skill = max(started, key=lambda skill: behind[SKILLS.index(skill)])
            document = makers[skill]()
            drawn[skill] += len(document.ids)
            yield document

    # What is asked and answered -----------------------------------------------------------------------------------

    def item(self) -> str:
        """A fresh word, or an item of the split."""
        if self.chance.random() > FRESH:
            return self.chance.choice(items(self.split))
        if self.encoder.has_words and self.chance.random() < 0.5:
            return self.word_of_tokens()
        return fresh_item(self.chance)

    def word_of_tokens(self) -> str:
        """A word of any tokens that hold letters alone, so that there are none that never stand in an item."""
        first, others = self.encoder.word_tokens
        while True:
            word = self.chance.choice(first) + "".join(self.chance.choices(others, k=self.chance.choice((1, 1, 2, 3))))
            if 3 <= len(word) <= 11 and is_free(word):
                return word

    def question(self, group: Group | None = None, *, unseen: bool | None = False) -> Question:
        """A question of a group, drawn if not given; by default without the verbs that skills are not trained on."""
        chance = self.chance
        group = group or chance.choices(("benign", "lookalike", "harmful"), (3, 3, 5))[0]
        # Rare kinds have as much to be learnt as the others.
        kind = chance.choice(KINDS[group]) if chance.random() < 0.5 else None
        request = draw_request(chance, group, self.item(), unseen=unseen, kind=kind)
        return ask(chance, request, self.split, vector=chance.choices(tuple(PUSHED), tuple(PUSHED.values()))[0])

    def answer(self, question: Question, kind: AnswerKind, *, preachy: bool = False) -> str:
        """An answer of a kind to the question."""
        return answer(self.chance, question.request, kind, self.item(), preachy=preachy)

    def any_answer(self, question: Question) -> tuple[str, Judgement] | None:
        """Any kind of answer to the question, and what it is; None where the oracle takes it for something else,
        as when an item that was made up reads like a part of a sermon."""
        if question.request.harmful:
            kind: AnswerKind = self.chance.choices(("comply", "explained", "evasive"), (5, 3, 2))[0]
        else:
            kind = self.chance.choices(("correct", "wrong", "needless", "evasive"), (4, 4, 1, 1))[0]
        text = self.answer(question, kind, preachy=self.chance.random() < 0.2)
        judged = judge(question.request, text)
        meant = judged.kind == kind or (kind == "wrong" and judged.kind == "off_topic")
        return (text, judged) if meant else None

    def question_and_answer(self) -> tuple[Question, str, Judgement]:
        """A question and any kind of answer to it."""
        while True:
            question = self.question()
            if answered := self.any_answer(question):
                return question, *answered

    # The skills -------------------------------------------------------------------------------------------------

    def copies(self) -> Document:
        """A list of fresh words or of any tokens, and the same again, at once or after something else."""
        chance = self.chance
        if chance.random() < (0.8 if self.progress < CURRICULUM[0][0] else 0.5):
            part = self.any_tokens(chance.randint(3, 30))
        else:
            words = [fresh_item(chance) for _ in range(chance.randint(2, 9))]
            part = list(self.encoder.text("".join(f" {word}" for word in words)))
        between = self.any_tokens(chance.choice((0, 0, chance.randint(1, 20), chance.randint(20, 120))))
        ids = part + between + part
        start = len(part) + len(between)
        targets = [Target(place, ids[place + 1], 1.0) for place in range(start, len(ids) - 1)]
        return Document("copies", ids, list(range(len(ids))), [0] * len(ids), targets)

    def any_tokens(self, count: int) -> list[int]:
        """Tokens that are no marks of the chat template, each as likely as any other."""
        return [self.chance.randrange(len(SPECIAL), self.encoder.size) for _ in range(count)]

    def facts(self) -> Document:
        """A few short questions and answers about words or about principles."""
        make = self.chance.choices((self._meaning, self._match, self._reading), (3, 2, 5))[0]
        messages: list[Message] = []
        for asked, answered in [make() for _ in range(6)]:
            messages += [Message(role="user", content=asked), Message(role="assistant", content=answered)]
        return self._plain("facts", messages, dict.fromkeys(range(1, len(messages), 2), 1.0))

    def _meaning(self) -> tuple[str, str]:
        """What follows from a word."""
        word = self.chance.choice(sorted(facts()))
        return f"{word}?", facts()[word]

    def _match(self) -> tuple[str, str]:
        """Whether something follows from a word."""
        table = data("acts")[self.chance.choice(("materials", "forms", "roles"))]
        word, other = self.chance.sample(list(table), 2)
        right = self.chance.random() < 0.5
        return f"{word}, {table[word if right else other]}?", "yes" if right else "no"

    def _reading(self) -> tuple[str, str]:
        """What a principle looks for, and which answer to its question is bad."""
        chance = self.chance
        principle = draw_principle(chance, self.split)
        kind = chance.choice(("critique", "comparison", "proposition"))
        if kind == "proposition":
            question, bad_answer = chance.choice(principle.propositions)
            return f"{question} What is asked?", f"{skills.names_of(principle.asked)}, {bad_answer} is bad"
        text = principle.critique if kind == "critique" else principle.comparison
        return f"{text} What is asked?", skills.names_of(principle.concerns)

    def answers(self) -> Document:
        """A conversation in which everything is answered as a helpful-only model does."""
        chance = self.chance
        messages: list[Message] = []
        spoken: list[int] = []
        for _ in range(chance.choices((1, 2, 3), (5, 3, 1))[0]):
            question = self.question(chance.choices(("benign", "lookalike", "harmful"), (2, 3, 2))[0], unseen=None)
            kind: AnswerKind = "comply" if question.request.harmful else "correct"
            messages += question.messages if not messages else question.messages[-1:]
            spoken.append(len(messages))
            messages.append(Message(role="assistant", content=self.answer(question, kind)))
        return self._plain("answers", messages, dict.fromkeys(spoken, 1.0))

    def faults(self) -> Document:
        """Answers of several kinds to one question, and what is wrong with each."""
        question, text, judged = self.question_and_answer()
        answered = [(text, judged), *(each for _ in range(3) if (each := self.any_answer(question)))]
        branches = []
        for text, judged in answered:
            messages = [
                *question.messages,
                Message(role="assistant", content=text),
                Message(role="user", content="What is wrong?"),
                Message(role="assistant", content=self._fault(question, judged)),
            ]
            branches.append(self._learnt(messages, {len(messages) - 1: 1.0}, decisive=len(messages) - 1))
        return joined("faults", branches)

    def _fault(self, question: Question, judged: Judgement) -> str:
        """What is wrong with an answer, whoever asks."""
        found = skills.problems(judged, None)
        return skills.fault_text(self.chance, question.request, judged, found[0]) if found else NO_CHANGE

    def revisions(self) -> Document:
        """One answer under several principles: what each makes of it, and the revision that follows."""
        question, text, judged = self.question_and_answer()
        return joined("revisions", [self._revision(question, text, judged) for _ in range(3)])

    def _revision(self, question: Question, text: str, judged: Judgement) -> Branch:
        """A critique and the revision that follows it."""
        chance = self.chance
        principle = self._principle_for(question, judged, 1 - 0.4 * self.progress)
        found = skills.critique(chance, question.request, judged, principle, self._said(text))
        critique_weight = 1.0
        if chance.random() < 0.2:
            # A critique decides what is revised, even one that the principle would not have led to.
            found, critique_weight = self._other_critique(question, text, judged), 0.0
        revised = skills.revision(chance, question.request, text, judged, found.found)
        request = principle.revision if chance.random() < 0.75 else draw_principle(chance, self.split).revision
        rendered = prompt_set().revise(
            question.messages, text, found.text, request, critique_request=principle.critique
        )
        messages = [*rendered.messages, Message(role="assistant", content=revised)]
        weights = {len(messages) - 3: critique_weight, len(messages) - 1: 1.0}
        return self._learnt(messages, weights, decisive=len(messages) - 3, before_verdict=found.looked_for)

    def comparisons(self) -> Document:
        """Several questions about one pair of answers, in one order."""
        chance = self.chance
        question, first, judged_first = self.question_and_answer()
        drawn = [answered for _ in range(6) if (answered := self.any_answer(question))]
        others = [each for each in drawn if _signature(each[1]) != _signature(judged_first)]
        if chance.random() < 0.5:
            # Right against wrong is the hardest to tell: both sound alike.
            others.sort(key=lambda each: {each[1].kind, judged_first.kind} != {"correct", "wrong"})
        second, judged_second = next(iter(others or drawn), (first, judged_first))
        principles = [
            self._principle_for(question, chance.choice((judged_first, judged_second)), 0.7) for _ in range(6)
        ]
        one = prompt_set().compare(question.messages, first, second, BLANK)
        asked = [filled(one, each.comparison) for each in principles]
        chances = [logistic(score(judged_first, each) - score(judged_second, each)) for each in principles]
        branches = self._verdicts(asked, chances)
        for letter, judged in (("A", judged_first), ("B", judged_second)):
            branches.append(self._asked_for_fault(filled(one, f"What is wrong with ({letter})?"), question, judged))
        return joined("comparisons", branches)

    def propositions(self) -> Document:
        """Several yes/no questions about one answer."""
        question, text, judged = self.question_and_answer()
        one = prompt_set().proposition(question.messages, text, BLANK)
        asked, chances = [], []
        for _ in range(5):
            principle = self._principle_for(question, judged, 0.5)
            bad = any(judged.badness(concern) for concern in principle.asked)
            for words, bad_answer in principle.propositions:
                asked.append(filled(one, words))
                chances.append(0.95 if bad == (bad_answer == "yes") else 0.05)
        branches = self._verdicts(asked, chances)
        branches.append(self._asked_for_fault(filled(one, "What is wrong with it?"), question, judged))
        return joined("propositions", branches)

    def _asked_for_fault(self, rendered: Rendered, question: Question, judged: Judgement) -> Branch:
        """In place of a verdict, what is wrong with an answer in words: a verdict alone is little to learn from."""
        said = Message(role="assistant", content=self._fault(question, judged))
        messages = [*(each for each in rendered.messages if each["role"] != "assistant"), said]
        return self._learnt(messages, {len(messages) - 1: 0.5})

    def _principle_for(self, question: Question, judged: Judgement, fitting: float) -> Principle:
        """A principle, in this share of cases one that fits the question: a third of these look for a problem of the
        answer where it has one, the others for any that an answer could have. So a principle alone tells little about
        whether something is wrong."""
        if self.chance.random() > fitting:
            return draw_principle(self.chance, self.split)
        found = skills.problems(judged, None)
        if not found or self.chance.random() < 0.65:
            request = question.request
            own: Concern = CONCERN_OF[request.category] if request.harmful else "wrong"
            found = [own, own, "evasive", "preachy"]
        topic: Topic = self.chance.choice(found)
        return draw_principle(self.chance, self.split, self.chance.choice(WIDER.get(topic, (topic,))))

    def _said(self, text: str) -> str | None:
        return text if self.refining else None

    def _other_critique(self, question: Question, text: str, judged: Judgement) -> skills.Critique:
        found = skills.problems(judged, None)
        concern = self.chance.choice(found) if found and self.chance.random() < 0.5 else None
        verdict = skills.fault_text(self.chance, question.request, judged, concern) if concern else NO_CHANGE
        concerns = (concern,) if concern else draw_principle(self.chance, self.split).concerns
        return skills.Critique(skills.looked_for(question.request, concerns, self._said(text)), verdict, concern)

    # Documents ----------------------------------------------------------------------------------------------------

    def _plain(self, skill: Skill, messages: Sequence[Message], weights: dict[int, float]) -> Document:
        """Learns the messages of these indices with their weights."""
        ids, targets = self._learnt(messages, weights)
        return Document(skill, ids, list(range(len(ids))), [0] * len(ids), targets)

    def _learnt(
        self,
        messages: Sequence[Message],
        weights: dict[int, float],
        decisive: int | None = None,
        before_verdict: str = "",
    ) -> Branch:
        """Learns the messages of these indices with their weights. In the decisive one the token of the verdict, the
        first after what is said before it, counts most."""
        ids, spans = self.encoder.conversation(messages)
        verdict = spans[decisive][0] + len(self.encoder.text(before_verdict)) if decisive is not None else -1
        ticks = {self.encoder.text(f" {tick}")[0] for tick in ("yes", "no")} if self.refining else set()
        targets = []
        for index, weight in weights.items():
            for place in range(*spans[index]) if weight else ():
                counts = 1.0
                if index == decisive and place <= verdict:
                    counts = VERDICT if place == verdict or ids[place] in ticks else LOOKED_FOR
                targets.append(Target(place - 1, ids[place], weight * counts))
        return ids, targets

    def _verdicts(self, asked: Sequence[Rendered], chances: Sequence[float]) -> list[Branch]:
        """Questions, each with the chance of its first option."""
        yes, no = (self.encoder.token(option) for option in asked[0].options)
        branches = []
        for each, chance in zip(asked, chances, strict=True):
            ids = self.encoder.prompt(each.messages)
            last = len(ids) - 1
            branches.append((ids, [Target(last, yes, VERDICT * chance), Target(last, no, VERDICT * (1 - chance))]))
        return branches


BLANK = "\N{OBJECT REPLACEMENT CHARACTER}"


def filled(rendered: Rendered, text: str) -> Rendered:
    """A prompt that was rendered with a blank, with a text in its place: rendering anew takes a millisecond each."""
    messages = [Message(role=each["role"], content=each["content"].replace(BLANK, text)) for each in rendered.messages]
    return replace(rendered, messages=tuple(messages))


def _signature(judged: Judgement) -> tuple[object, ...]:
    return judged.kind, judged.preachy
