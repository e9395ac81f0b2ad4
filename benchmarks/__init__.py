"""Benchmarks: ratios measured side by side in one run, against the same master."""

from __future__ import annotations
