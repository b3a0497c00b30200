"""Learning a language: the next token, a hidden one, the same sentence in another language."""
