"""Tests against real masters with real workers and real databases."""
