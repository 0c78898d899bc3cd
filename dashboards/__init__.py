"""Grafana's dashboards, made by code from the table of metrics, and Prometheus's files."""
