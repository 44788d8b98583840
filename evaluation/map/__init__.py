"""The data map: one HTML file on which every pair is a point, and near points have similar texts.

    pairs ──take_sample──► Sample ──vectors──► numbers a pair ──lay_out──► positions ──find_regions──► Regions
            sampling.py             vectors.py                  layout.py              regions.py        │
                                    model_vectors.py                                                     ▼
                                                                    facets.py ──► payload.py ──► page.py, page/

The file needs no network and runs no text of the data: see page.py. Left out on purpose: a server. Decisions leave
the page as a JSONL file.
"""
