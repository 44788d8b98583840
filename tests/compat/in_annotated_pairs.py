"""Feedback Forensics' own loader reads our annotated pairs. Run by check.py, in its environment."""

from __future__ import annotations

from feedback_forensics.data.loader import get_votes_dict_from_annotated_pairs_json
from readings import compare, given, told


def main() -> None:
    exported, _ = given()
    read = get_votes_dict_from_annotated_pairs_json(exported / "preference" / "train.json")
    rows = read["df"]
    expected = told(exported, "preference")
    compare("preference", len(rows), len(expected))
    for (_, row), of in zip(rows.iterrows(), expected, strict=True):
        assert row[f"{row['label']}"] == of["chosen"][0]["content"]
    print(f"  annotators: {', '.join(read['annotator_metadata'])}")


if __name__ == "__main__":
    main()
