"""Who sends a request, and what they may do: identity, tokens, CSRF, authorization."""
