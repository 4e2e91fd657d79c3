"""How far a lower precision is from float32, and what is said of it."""

from __future__ import annotations

import numpy as np
from rlemasklib import RLEMask

from deepmask.export.precision.agreement import Agreement, LogitError, found_again, logit_error
from deepmask.export.precision.reduce import as_lines
from deepmask.runtime.predict.proposals import Proposals


def test_a_mask_is_found_again_only_where_it_is_nearly_the_same() -> None:
    def squares(*sides: int) -> Proposals:
        masks = np.zeros((len(sides), 40, 40), np.uint8)
        for mask, side in zip(masks, sides, strict=True):
            mask[:side, :20] = 1
        scores = np.ones(len(sides), np.float32)
        return Proposals(scores, [RLEMask.from_array(mask) for mask in masks], (40, 40))

    wanted = squares(20, 10, 0)
    assert found_again(wanted, squares(19, 12)).tolist() == [True, False]
    assert found_again(wanted, squares(0)).tolist() == [False, False]
    assert found_again(wanted, squares()).tolist() == [False, False]


def test_a_box_is_found_again_only_where_it_is_nearly_the_same() -> None:
    def boxes(*sides: int) -> Proposals:
        places = np.array([(0.5, 0.5, 20.0, side) for side in sides])
        return Proposals(np.ones(len(sides), np.float32), None, (40, 40), found_boxes=places)

    assert found_again(boxes(20, 10), boxes(19, 12)).tolist() == [True, False]


def test_logit_errors_are_over_all_values() -> None:
    zeros, ones = np.zeros(3, np.float32), np.array([3, 4, 0], np.float32)
    error = logit_error([(ones, ones), (ones, zeros)])
    assert error == LogitError(np.sqrt(25 / 6), 4.0, np.sqrt(50 / 6))


def test_low_agreement_warns() -> None:
    error = LogitError(0.1, 0.5, 4.0)
    good, bad = (Agreement(10, 1000, share, error, error) for share in (0.951, 0.8))
    assert not any("Warning" in line for line in as_lines(good, "fp16", "photographs"))
    assert as_lines(bad, "int8", "photographs")[-1] == (
        "Warning: int8 finds 80.0% of fp32's proposals again, below 85%: measure its recall with "
        "deepmask-eval before you use it"
    )
    few = Agreement(4, 400, 1.0, error, error)
    assert as_lines(few, "fp16", "photographs")[-1].startswith("Note: fewer than 10 pictures")
