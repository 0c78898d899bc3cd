"""The dashboard of trainings."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.panels import Panel, course, dashboard, number, of
from jobs import metrics
from jobs.metrics import Metric


def build() -> Dashboard:
    """How far, how well, how fast."""
    panels: list[Panel] = [*_progress(), *_quality(), *_pace()]
    return dashboard("Forensics: training", "forensics-training", metrics.EPOCHS, panels)


def _progress() -> list[Panel]:
    epoch, epochs = _one(metrics.EPOCH), _one(metrics.EPOCHS)
    return [
        number(
            "Epochs",
            "short",
            "How many epochs are trained?",
            "If it does not grow for several times 'Seconds of an epoch', read the job's log; the "
            "same command goes on after the last epoch that ended.",
            epoch,
        ),
        number(
            "Done",
            "percentunit",
            "How much of the training is done?",
            "If it begins at 0 again, a worker failed and the training went on from a checkpoint; "
            "the reason is in the job's log.",
            f"{epoch} / {epochs}",
        ),
        number(
            "Time left",
            "s",
            "When is the training through, at the pace of the last epoch?",
            "If that is too late: fewer epochs, more workers_per_training, or a GPU.",
            f"({epochs} - {epoch}) * {_one(metrics.EPOCH_SECONDS)}",
        ),
    ]


def _quality() -> list[Panel]:
    return [
        course(
            "Loss",
            "short",
            "Does the network still learn?",
            "If it rises or jumps, lower lr. If it is flat from the start, raise lr or look at the "
            "data. A training whose loss is no number ends by itself and says so.",
            {"{{run}}": _one(metrics.LOSS)},
        ),
        course(
            "Validation",
            "short",
            "Does what is learned hold for what was not trained on?",
            "If it worsens while the loss falls, the network learns by heart: more photos, more "
            "sources, fewer epochs. The best epoch is kept where the job chooses one.",
            {"{{run}} {{measure}}": f"max by (run, measure) ({of(metrics.MEASURE)})"},
        ),
        course(
            "Learning rate",
            "sci",
            "Which learning rate was the last epoch run with?",
            "If a plateau brought it to min_lr early, more epochs will not help.",
            {"{{run}}": _one(metrics.LEARNING_RATE)},
        ),
    ]


def _pace() -> list[Panel]:
    return [
        course(
            "Seconds of an epoch",
            "s",
            "How long does an epoch take, validation included?",
            "If it grows, others use the machine: see that no second job shares its GPU or cores.",
            {"{{run}}": _one(metrics.EPOCH_SECONDS)},
        ),
        course(
            "Examples per second",
            "ops",
            "How fast does the network learn from examples?",
            "If a GPU is idle meanwhile, examples are made too slowly: more threads or CPUs per "
            "worker.",
            {"{{run}}": _one(metrics.EXAMPLES_PER_SECOND)},
        ),
    ]


def _one(metric: Metric) -> str:
    """The newest where a job that continues a killed one is seen beside it."""
    return f"max by (run) ({of(metric)})"
