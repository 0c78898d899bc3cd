from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import maximum_filter, minimum_filter
from sklearn import metrics as reference

from forensics.evaluate import metrics as m

# Few distinct values, so that most cases have ties and many are constant.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def samples(draw, both_classes=False):
    n = draw(st.integers(2, 40))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores = draw(arrays(dtype, n, elements=SCORES.map(lambda v: float(dtype(v)))))
    truth = draw(arrays(np.bool_, n))
    if both_classes:
        truth[0], truth[1] = True, False
    return scores, truth


def naive_best_f1(scores, truth):
    cuts = [-np.inf, *np.unique(scores)]
    return max(reference.f1_score(truth, scores > t, zero_division=1.0) for t in cuts)


@given(samples(both_classes=True))
def test_auc_and_roc_agree_with_scikit_learn(case):
    scores, truth = case
    assert m.auc(scores, truth) == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-12)
    fpr, tpr, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    curve = m.roc(scores, truth)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    for f, t, cut in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert f == np.mean(scores[~truth] > cut)
        assert t == np.mean(scores[truth] > cut)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(m.auc(scores, truth))


@given(samples(both_classes=True))
def test_auc_is_a_rank_statistic(case):
    scores, truth = case
    area = m.auc(scores, truth)
    assert m.auc(-scores, truth) == pytest.approx(1 - area)
    assert m.auc(scores, ~truth) == pytest.approx(1 - area)
    assert m.auc(3 * scores + 7, truth) == pytest.approx(area)
    assert m.auc(np.full_like(scores, 0.3), truth) == 0.5


@given(samples())
def test_best_f1_is_that_of_every_cut_tried(case):
    scores, truth = case
    assert m.f1_best(scores, truth) == pytest.approx(naive_best_f1(scores, truth))
    both = max(naive_best_f1(scores, truth), naive_best_f1(-scores, truth))
    assert m.f1_best(scores, truth, either_polarity=True) == pytest.approx(both)


@given(samples(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
def test_measures_at_a_threshold_agree_with_scikit_learn(case, threshold):
    scores, truth = case
    called = scores > threshold
    fixed = m.f1_fixed(scores, truth, threshold)
    assert fixed == pytest.approx(reference.f1_score(truth, called, zero_division=1.0))
    assert fixed == m.f1_curve(scores, truth, [threshold])[0]
    assert fixed <= m.f1_best(scores, truth)
    if (truth | called).any():
        assert m.iou(scores, truth, threshold) == reference.jaccard_score(truth, called)
    if 0 < truth.sum() < truth.size:
        assert m.balanced_accuracy(scores, truth, threshold) == pytest.approx(
            reference.balanced_accuracy_score(truth, called)
        )
        if 0 < called.sum() < called.size:
            expected = reference.matthews_corrcoef(truth, called)
            assert m.mcc(scores, truth, threshold) == pytest.approx(expected)


@given(samples(), st.data())
def test_ignored_samples_do_not_count(case, data):
    scores, truth = case
    valid = data.draw(arrays(np.bool_, scores.size))
    for measure in (m.f1_best, m.f1_fixed, m.auc, m.balanced_accuracy, m.iou, m.mcc):
        np.testing.assert_equal(
            measure(scores, truth, valid=valid), measure(scores[valid], truth[valid])
        )


@given(samples(), samples())
def test_confusions_of_parts_add_up(one, two):
    whole = m.confusion(*(np.concatenate(pair) for pair in zip(one, two, strict=True)))
    assert m.confusion(*one) + m.confusion(*two) == whole


def test_counts_by_hand():
    scores = np.array([[0.9, 0.5, 0.51], [0.1, 0.6, 0.2]], np.float32)
    truth = np.array([[1, 1, 0], [0, 1, 0]], bool)
    counts = m.confusion(scores, truth)  # 0.5 is not greater than 0.5
    assert counts == m.Confusion(tp=2, fp=1, fn=1, tn=2)
    assert counts.f1 == pytest.approx(2 / 3)
    assert counts.iou == 0.5
    assert counts.balanced_accuracy == pytest.approx(2 / 3)
    assert counts.mcc == pytest.approx(1 / 3)
    assert counts.inverted == m.Confusion(tp=1, fp=2, fn=2, tn=1)
    assert m.f1_best(scores, truth) == pytest.approx(6 / 7)  # all above 0.2
    assert m.auc(scores, truth) == pytest.approx(8 / 9)


def test_perfect_answer_to_a_pristine_image_is_one():
    truth = np.zeros((4, 5), bool)
    quiet, one_alarm = np.full((4, 5), 0.1), np.full((4, 5), 0.1)
    one_alarm[2, 2] = 0.9
    assert m.f1_fixed(quiet, truth) == m.iou(quiet, truth) == m.mcc(quiet, truth) == 1
    assert m.f1_fixed(one_alarm, truth) == m.iou(one_alarm, truth) == m.mcc(one_alarm, truth) == 0
    assert m.mcc(np.ones((4, 5)), truth) == -1
    assert m.f1_best(one_alarm, truth) == 1
    assert math.isnan(m.auc(quiet, truth))
    assert math.isnan(m.balanced_accuracy(quiet, truth))
    assert np.isnan(m.roc(quiet, truth).tpr).all()


def test_nothing_valid_is_nan():
    scores, truth = np.array([0.2, 0.8]), np.array([False, True])
    nothing = np.zeros(2, bool)
    for measure in (m.f1_best, m.f1_fixed, m.auc, m.balanced_accuracy, m.iou, m.mcc):
        assert math.isnan(measure(scores, truth, valid=nothing))


def test_infinite_scores_and_integer_scores_are_ordered_like_any_other():
    truth = np.array([False, True, True])
    assert m.auc([-np.inf, 0.0, np.inf], truth) == 1
    assert m.f1_best([-np.inf, 0.0, np.inf], truth) == 1
    assert m.f1_best(np.array([3, 7, 7], np.uint8), truth, either_polarity=True) == 1


@pytest.mark.parametrize("measure", [m.f1_best, m.f1_fixed, m.auc, m.roc, m.confusion])
def test_bad_input_is_refused(measure):
    with pytest.raises(ValueError, match=r"truth has shape \(3,\)"):
        measure(np.zeros(4), np.zeros(3, bool))
    with pytest.raises(ValueError, match="valid has shape"):
        measure(np.zeros(4), np.zeros(4, bool), valid=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="mask > 127"):
        measure(np.zeros(2), np.array([0, 255], np.uint8))
    with pytest.raises(ValueError, match="nan"):
        measure(np.array([np.nan, 1.0]), np.array([True, False]))


def test_nothing_is_changed_in_place():
    scores = np.random.default_rng(0).random((30, 40))
    truth = scores > 0.7
    before = scores.copy()
    scores.setflags(write=False)
    for measure in (m.f1_best, m.f1_fixed, m.auc, m.roc):
        measure(scores, truth)
    np.testing.assert_array_equal(scores, before)


def test_the_threshold_is_rounded_like_the_scores():
    scores, truth = np.array([0.1], np.float32), np.array([True])
    # As a float64, 0.1 is below the float32 nearest to it.
    assert m.confusion(scores, truth, 0.1).tp == 0
    assert m.confusion(scores, truth, np.float64(0.1)).tp == 0
    assert m.f1_curve(scores, truth, [0.1])[0] == 0


def test_border_of_the_published_protocol():
    truth = np.zeros((60, 70), bool)
    truth[20:45, 0:30] = True
    valid = m.away_from_border(truth)
    forged = np.zeros_like(truth)
    forged[27:38, 0:23] = True  # 15 // 2 = 7 pixels in; the left side is the picture's edge
    pristine = np.ones_like(truth)
    pristine[15:50, 0:35] = False  # 11 // 2 = 5 pixels out
    np.testing.assert_array_equal(valid, forged | pristine)
    np.testing.assert_array_equal(valid & truth, minimum_filter(truth, 15))
    np.testing.assert_array_equal(valid & ~truth, ~maximum_filter(truth, 11))
    # A map that is right but for the border is perfect under the protocol.
    blurred = maximum_filter(truth, 9).astype(np.float32)
    assert m.f1_fixed(blurred, truth) < 1
    assert m.f1_fixed(blurred, truth, valid=valid) == 1
    assert m.f1_fixed(1 - blurred, truth, valid=valid, either_polarity=True) == 1
    assert not m.away_from_border(truth, erode=61)[truth].any()
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        m.away_from_border(np.zeros(5, bool))


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_adjusted_r2_corrects_for_the_number_of_features(n_features, seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(4, 10))
    y_hat = y + 0.5 * rng.normal(size=y.shape)
    r2 = reference.r2_score(y.ravel(), y_hat.ravel())
    expected = 1 - (1 - r2) * 39 / (39 - n_features)
    assert m.adjusted_r2(y, y_hat, n_features) == pytest.approx(expected)
    assert m.adjusted_r2(y, y, n_features) == 1


def test_adjusted_r2_of_pure_noise_is_near_zero_where_r2_is_not():
    rng = np.random.default_rng(3)
    n, p = 60, 20
    features, y = np.c_[np.ones(n), rng.normal(size=(n, p))], rng.normal(size=(200, n))
    y_hat = (features @ np.linalg.lstsq(features, y.T, rcond=None)[0]).T
    plain = np.mean([reference.r2_score(a, b) for a, b in zip(y, y_hat, strict=True)])
    adjusted = np.mean([m.adjusted_r2(a, b, p) for a, b in zip(y, y_hat, strict=True)])
    assert plain > 0.3
    assert abs(adjusted) < 0.05


def test_adjusted_r2_edges():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(m.adjusted_r2(np.full(9, 0.1), np.arange(9), 2))
    with pytest.raises(ValueError, match="needs 6 samples, got 5"):
        m.adjusted_r2(np.arange(5), np.arange(5), 4)
    with pytest.raises(ValueError, match="must agree"):
        m.adjusted_r2(np.arange(5), np.arange(6), 1)
