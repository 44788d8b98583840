"""axolotl: JSON lines whose strategy is named in its configuration."""

from __future__ import annotations

from engine.exporters.examples import Answer
from engine.exporters.form import MESSAGES, TEXT, YES_NO, Form, Format, Row
from engine.exporters.turns import CERTAIN, first_of, one_turn, single_answers, split_system, whole_conversation
from engine.pairs import Pair

USE = "datasets: [{path: {train}, ds_type: json, type: TYPE}]"


def _pair(pair: Pair) -> Row:
    return {"messages": list(pair.prompt), "chosen": pair.chosen[0], "rejected": pair.rejected[0]}


def _reward(pair: Pair) -> Row:
    system, (asked,) = split_system(pair.prompt)
    chosen, rejected = pair.chosen[0]["content"], pair.rejected[0]["content"]
    return {"system": system, "input": asked["content"], "chosen": chosen, "rejected": rejected}


def _answer(answer: Answer) -> Row:
    return {"completion": [*answer.prompt, *answer.completion], "label": answer.label}


FORMAT = Format(
    title="axolotl",
    forms={
        "preference": Form(
            columns={"messages": MESSAGES, "chosen": MESSAGES.value_type, "rejected": MESSAGES.value_type},
            row=_pair,
            stored="jsonl",
            use="rl: dpo\n" + USE.replace("TYPE", "chat_template.default"),
            notes=(CERTAIN, "Its strategies hold one message an answer; pairs that part earlier are left out."),
            refuses=single_answers,
        ),
        "reward": Form(
            columns={"system": TEXT, "input": TEXT, "chosen": TEXT, "rejected": TEXT},
            row=_reward,
            stored="jsonl",
            use="reward_model: true\n" + USE.replace("TYPE", "bradley_terry.chat_template"),
            notes=(
                CERTAIN,
                "Its reward strategy holds one user message and a system message: conversations of several turns are "
                "left out. Other trainers' reward forms keep them.",
                "Where there is no system message it puts an empty one.",
            ),
            refuses=first_of(single_answers, one_turn),
        ),
        "sft": Form(
            columns={"messages": MESSAGES},
            row=whole_conversation,
            stored="jsonl",
            use=USE.replace("TYPE", "chat_template") + "\n# roles_to_train: [] and train_on_eos: last for one turn",
            notes=("It trains on every assistant turn of the conversation unless its configuration says otherwise.",),
        ),
        "unpaired": Form(
            columns={"completion": MESSAGES, "label": YES_NO},
            row=_answer,
            stored="jsonl",
            use="rl: kto\n" + USE.replace("TYPE", "chatml.argilla_chat") + "  # or llama3.argilla_chat",
            notes=(
                "completion is the whole conversation, since only its argilla_chat strategies keep several turns. They "
                "write ChatML or Llama 3 markers themselves, whatever the model's template says.",
            ),
        ),
    },
)
