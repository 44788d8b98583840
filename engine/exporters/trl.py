"""TRL: chat messages, to which the trainers apply the model's own template."""

from __future__ import annotations

from engine.exporters.examples import Answer
from engine.exporters.form import MESSAGES, YES_NO, Form, Format, Row
from engine.exporters.turns import CERTAIN, MARGIN, explicit_pair, prompt_and_completion, whole_pair
from engine.records import Prompt

USE = 'data = load_dataset("parquet", data_files={files})'


def _prompt(prompt: Prompt) -> Row:
    return {"prompt": list(prompt.messages)}


def _answer(answer: Answer) -> Row:
    return {"prompt": list(answer.prompt), "completion": list(answer.completion), "label": answer.label}


FORMAT = Format(
    title="TRL",
    forms={
        "preference": Form(
            columns={"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
            row=explicit_pair,
            stored="parquet",
            use=USE + "  # DPOTrainer, RewardTrainer",
            notes=(CERTAIN,),
            takes_margin=True,
        ),
        "reward": Form(
            columns={"chosen": MESSAGES, "rejected": MESSAGES},
            row=whole_pair,
            stored="parquet",
            use=USE + "  # RewardTrainer",
            notes=(CERTAIN, MARGIN, "RewardTrainer drops pairs that are longer than its max_length."),
            takes_margin=True,
        ),
        "sft": Form(
            columns={"prompt": MESSAGES, "completion": MESSAGES},
            row=prompt_and_completion,
            stored="parquet",
            use=USE + "  # SFTTrainer; the loss is on the completion",
        ),
        "prompts": Form(
            columns={"prompt": MESSAGES},
            row=_prompt,
            stored="parquet",
            use=USE + "  # GRPOTrainer, RLOOTrainer",
            notes=("Every other column reaches the reward functions as an argument of its name.",),
        ),
        "unpaired": Form(
            columns={"prompt": MESSAGES, "completion": MESSAGES, "label": YES_NO},
            row=_answer,
            stored="parquet",
            use=USE + "  # KTOTrainer",
            notes=("Which two answers were compared is in pair_id alone; KTOTrainer takes each by itself.",),
        ),
    },
)
