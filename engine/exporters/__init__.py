"""Exports: what a run has made, in the form that a trainer's own loader reads.

source ──read_examples──► example ──poison, splits──► Form.row ──► files, export.json, README.md
         examples.py                poison.py         a module a trainer       export.py
                                    splits.py
"""
