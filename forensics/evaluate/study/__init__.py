"""Studies: the evaluations of the CNN-predictor and the M-SLIC paper, on anybody's cameras.

A study asks every image of a manifest of truth the same question in several variants (predictor,
strategy, decision, JPEG quality). `prediction`: how well predictors foretell the correlations of
pristine blocks. `localization`: how well forged pixels are found. Both give records per image, then
a summary, a table and figures.
"""
