"""False-alarm budget: thresholds from the scores of pristine images, and what they promise.

Everything rests on one assumption: a pristine image of the archive is like one drawn at random
from the same source as the pristine images of the calibration. Then the rank of its score among
theirs is as likely as any other, whatever the detector, and all numbers here are exact for a
detector whose scores do not repeat, and on the safe side for one whose scores do.
"""
