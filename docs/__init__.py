"""The documents of this project, and what generates their tables from the declared routes."""
