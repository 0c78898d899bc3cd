"""Parts of a dashboard: panels that say which question they answer, and what to do if it is bad."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from jobs.metrics import Metric

Panel = stat.Panel | timeseries.Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def of(metric: Metric, *conditions: str) -> str:
    """The series of a metric of the runs that are chosen at the top of the dashboard."""
    chosen = ", ".join(['run=~"$run"', *conditions])
    return f"{metric.series}{{{chosen}}}"


def per_second(metric: Metric, *conditions: str) -> str:
    """How fast a counter or the buckets of a histogram grow."""
    return f"rate({of(metric, *conditions)}[$__rate_interval])"


def number(title: str, unit: str, question: str, remedy: str, query: str) -> stat.Panel:
    """One number. ``unit`` is Grafana's name of it."""
    panel = stat.Panel().title(title).unit(unit).description(f"{question}\n\n{remedy}")
    return panel.datasource(SOURCE).with_target(_target("A", query, "{{run}}")).height(5).span(6)


def course(
    title: str, unit: str, question: str, remedy: str, queries: dict[str, str]
) -> timeseries.Panel:
    """Curves over time; ``queries`` by their legends."""
    panel = timeseries.Panel().title(title).unit(unit).description(f"{question}\n\n{remedy}")
    panel.datasource(SOURCE).height(8).span(12).fill_opacity(10)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    for place, (legend, query) in enumerate(queries.items()):
        panel.with_target(_target("ABCDEFGH"[place], query, legend))
    return panel


def dashboard(title: str, uid: str, runs: Metric, panels: list[Panel]) -> Dashboard:
    """A dashboard of the runs that have the metric ``runs``."""
    made = (
        Dashboard(title)
        .uid(uid)
        .tags(["forensics"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            QueryVariable("run")
            .label("run")
            .datasource(SOURCE)
            .query(f"label_values({runs.series}, run)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".+")
            .multi(True)
        )
    )
    for panel in panels:
        made.with_panel(panel)
    return made


def _target(name: str, query: str, legend: str) -> Dataquery:
    return Dataquery().ref_id(name).datasource(SOURCE).expr(query).legend_format(legend)
