"""Tests that use the pages as people do: in Chromium."""
