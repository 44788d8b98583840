"""Reading prompts: from what a user has to a stream of `Prompt` rows.

    PromptSource ──find_inputs──► Input ──read_rows──► Row ──read_conversation──► Conversation ──► Prompt
    source.py                     source.py            rows.py    conversations.py              reading.py
                                                       datasets.py

A source is one entry of a recipe's prompt list. Rows stream: memory does not grow with the file, save for a JSON
array, which is parsed whole. `check_prompts` reads everything once, before a model is loaded, and raises one
`BadInput` with every fault's file and line; `read_prompts` then yields the same rows.

Duplicates are `engine/duplicates.py`'s business. The formats and their rules: docs/inputs.md.
"""

from engine.inputs.reading import InputSummary, check_prompts, read_prompts
from engine.inputs.source import PromptSource

__all__ = ["InputSummary", "PromptSource", "check_prompts", "read_prompts"]
