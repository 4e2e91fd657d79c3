"""What can go wrong in training, told in one line each."""

from __future__ import annotations

from deepmask.runtime.errors import OneLineError


class TrainError(OneLineError):
    """Training was tried and failed; what was learnt by then is saved."""


class TrainUsageError(TrainError):
    """What was asked for cannot be done: settings that do not go together; exit code 2."""

    exit_code = 2
