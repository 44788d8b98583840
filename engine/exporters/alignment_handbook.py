"""The Alignment Handbook: whole conversations, in splits that say what they are for."""

from __future__ import annotations

from engine.exporters.form import MESSAGES, Form, Format
from engine.exporters.turns import CERTAIN, single_answers, whole_conversation, whole_pair

FORMAT = Format(
    title="Alignment Handbook",
    forms={
        "preference": Form(
            columns={"chosen": MESSAGES, "rejected": MESSAGES},
            row=whole_pair,
            stored="parquet",
            use="dataset_mixer: {{folder}: 1.0}\ndataset_splits: [train_prefs, test_prefs]",
            notes=(CERTAIN, "It puts an empty system message in front unless auto_insert_empty_system_msg is false.",
                   "Pairs that part before their last turn are left out: it takes chosen without its last turn for the "
                   "prompt of both."),
            refuses=single_answers,
            splits={"train": "train_prefs", "test": "test_prefs"},
        ),
        "sft": Form(
            columns={"messages": MESSAGES},
            row=whole_conversation,
            stored="parquet",
            use="dataset_mixer: {{folder}: 1.0}\ndataset_splits: [train_sft, test_sft]",
            notes=("It trains on the whole text, the user's turns too.",),
            splits={"train": "train_sft", "test": "test_sft"},
        ),
    },
)  # fmt: skip
