"""Most votes win, and what happens when none has most."""

from __future__ import annotations

import numpy as np
import pytest

from forensics.origin.voting import majority
from forensics.records import NotApplicable


def shares(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_most_votes_win_whatever_the_mean() -> None:
    vote = majority(shares((0.4, 0.6, 0), (0.4, 0.6, 0), (1, 0, 0)))
    assert vote.winner == 1
    assert vote.table.tolist() == [1, 2, 0]
    assert vote.votes.tolist() == [1, 1, 0]
    assert vote.probabilities.tolist() == pytest.approx([0.6, 0.4, 0])
    assert not vote.tied


def test_of_classes_with_as_many_votes_the_larger_mean_wins() -> None:
    vote = majority(shares((0.6, 0.4, 0), (0.1, 0.9, 0)))
    assert (vote.winner, vote.tied) == (1, True)
    assert vote.table.tolist() == [1, 1, 0]
    # a class with a larger mean but fewer votes is no party to the tie
    vote = majority(shares((0.5, 0, 0.49), (0.5, 0, 0.49), (0, 0.51, 0.49), (0, 0.51, 0.49)))
    assert (vote.winner, vote.tied) == (1, True)


def test_of_equal_means_the_first_wins_for_patches_and_images() -> None:
    vote = majority(shares((0.5, 0.5), (0.5, 0.5)))
    assert vote.votes.tolist() == [0, 0]
    assert (vote.winner, vote.tied) == (0, False)
    vote = majority(shares((1, 0), (0, 1)))
    assert (vote.winner, vote.tied) == (0, True)


def test_too_few_patches_do_not_judge() -> None:
    with pytest.raises(NotApplicable, match="gives 2 patches, 3 are needed"):
        majority(np.full((2, 2), 0.5, np.float32), minimum=3)
    with pytest.raises(NotApplicable, match="gives 0 patches"):
        majority(np.empty((0, 3), np.float32))
    with pytest.raises(ValueError, match="must be"):
        majority(np.empty((3, 1), np.float32))
