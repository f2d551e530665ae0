"""Text that others wrote, made fit for a terminal."""


def printable(text: str) -> str:
    """Escapes what would move a terminal's cursor or cannot be encoded; line ends stay."""
    return ''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in text)
