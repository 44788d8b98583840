"""Reading what a model answered. An answer that cannot be read raises; it never becomes a label.

BadAnswer             the model answered, but not with what was asked
├── UnparsedAnswer    no option can be read from the text
├── TruncatedAnswer   the answer was cut before its verdict
└── LowMass           the options together hold less probability than asked
"""

from __future__ import annotations

from constitution.faults import CharterError


class BadAnswer(CharterError):
    """The model answered, and the answer is not what was asked for."""


class UnparsedAnswer(BadAnswer):
    """No option can be read from the answer."""


class TruncatedAnswer(BadAnswer):
    """The answer was cut off before it reached its verdict."""


class LowMass(BadAnswer):
    """The options together hold too little of the probability: the model wanted to say something else."""
