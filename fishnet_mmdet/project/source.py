"""Texts of others in a config. MMEngine replaces `{{ ... }}` anywhere in a file, so two braces in a row are avoided."""


def as_literal(text: str) -> str:
    """Python source of a text."""
    return repr(text).replace('{{', r'{\x7b')


def as_comment(text: str) -> str:
    """A text for a comment, in which there are no escapes."""
    return text.replace('{{', '{ {')
