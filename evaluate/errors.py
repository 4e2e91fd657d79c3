"""The one error a user of the evaluation sees."""

from __future__ import annotations


class EvalError(Exception):
    """Input that cannot be evaluated; the text says in one line what is wrong and what to do."""
