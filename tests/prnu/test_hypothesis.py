"""Probability from a correlation, its prediction and two spreads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forensics.prnu.hypothesis import fit_sigma0, tampering_probability


def formula(rho: float, rho_hat: float, s0: float, s1: float) -> float:
    return 1 / (1 + s0 / s1 * np.exp(rho**2 / (2 * s0**2) - (rho - rho_hat) ** 2 / (2 * s1**2)))


@pytest.mark.parametrize(
    ("rho", "rho_hat", "s0", "s1"),
    [
        (0.0, 0.05, 0.01, 0.02),
        (0.05, 0.05, 0.01, 0.02),
        (-0.02, 0.03, 0.01, 0.02),
        (0.02, 0.02, 0.008, 0.005),
        (0.01, 0.03, 0.008, 0.005),
        (0.0, 0.0, 0.01, 0.01),
    ],
)
def test_is_bayes_rule(rho: float, rho_hat: float, s0: float, s1: float) -> None:
    p = tampering_probability(np.array([rho]), np.array([rho_hat]), s0, s1)
    assert p.dtype == np.float32
    assert p[0] == pytest.approx(formula(rho, rho_hat, s0, s1), rel=1e-6)


@pytest.mark.parametrize("s1", [0.001, 0.008, 0.05])
def test_far_above_the_prediction_is_authentic(s1: float) -> None:
    """Both likelihoods vanish there; a naive quotient gives NaN, or 1 where sigma1 < sigma0."""
    p = tampering_probability(np.array([0.9, 1.0]), np.array([0.01, 0.02]), 0.008, s1)
    np.testing.assert_array_equal(p, 0)


def test_far_below_the_prediction_is_tampered() -> None:
    assert tampering_probability(np.array([0.0]), np.array([0.9]), 0.008, 0.01)[0] == 1


def test_negative_prediction_counts_as_zero() -> None:
    rho = np.linspace(-0.03, 0.03, 7)
    np.testing.assert_array_equal(
        tampering_probability(rho, np.full(7, -0.5), 0.01, 0.02),
        tampering_probability(rho, np.zeros(7), 0.01, 0.02),
    )


def test_no_information_is_one_half() -> None:
    rho = np.array([np.nan, 0.0, np.inf])
    rho_hat = np.array([0.1, np.nan, 0.1])
    np.testing.assert_array_equal(tampering_probability(rho, rho_hat, 0.01, 0.02), 0.5)


@given(
    rho_hat=st.floats(0, 1),
    s0=st.floats(1e-4, 1),
    s1=st.floats(1e-4, 1),
)
def test_more_correlation_is_never_more_tampered(rho_hat: float, s0: float, s1: float) -> None:
    rho = np.linspace(0, 1, 201)
    p = tampering_probability(rho, np.full_like(rho, rho_hat), s0, s1)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) <= 1e-6).all()


def test_spreads_may_differ_per_element() -> None:
    rho, rho_hat = np.array([0.01, 0.01]), np.array([0.03, 0.03])
    p = tampering_probability(rho, rho_hat, 0.01, np.array([0.01, 0.03]))
    assert p[0] == pytest.approx(formula(0.01, 0.03, 0.01, 0.01), rel=1e-6)
    assert p[1] == pytest.approx(formula(0.01, 0.03, 0.01, 0.03), rel=1e-6)


def test_tensors_stay_tensors_and_inputs_stay_as_they_are() -> None:
    rho, rho_hat = torch.tensor([0.01, 2.0]), torch.tensor([-1.0, 0.1])
    p = tampering_probability(rho, rho_hat, 0.01, 0.02)
    assert isinstance(p, torch.Tensor)
    assert rho.tolist() == torch.tensor([0.01, 2.0]).tolist()
    assert rho_hat.tolist() == torch.tensor([-1.0, 0.1]).tolist()


@pytest.mark.parametrize(("s0", "s1"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, float("nan"))])
def test_spreads_must_be_positive(s0: float, s1: float) -> None:
    with pytest.raises(ValueError, match="spreads"):
        tampering_probability(np.zeros(1), np.zeros(1), s0, s1)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        tampering_probability(np.zeros(2), np.zeros(3), 1.0, 1.0)


def test_sigma0_is_the_root_mean_square() -> None:
    assert fit_sigma0(np.array([3.0, -4.0, 5.0, 0.0])) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize("rho", [np.zeros(0), np.zeros(5)])
def test_sigma0_needs_correlations(rho: np.ndarray) -> None:
    with pytest.raises(ValueError, match="sigma0"):
        fit_sigma0(rho)
