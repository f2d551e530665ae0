"""Words that the house does not use; CONTRIBUTING.md says what to write instead. (This file does not contain them.)"""

import io
import re
import tokenize

ANYWHERE = re.compile(
    r'\bm[e]nd(?:s|ed|ing)?\b|\bane[w]\b|(?<!there )\bis n[o] (?!longer|more than)|\bnone that ca[n]\b', re.I
)
IN_PROSE = re.compile(r'\blayout[s]?\b|\btol[d]\b|\bwhateve[r]\b', re.I)
"""The first of them is also a keyword of Matplotlib and a property of tensors, which is fine in code."""


def prose(source):
    """The strings and comments of Python source, with their lines."""
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, 'FSTRING_MIDDLE', tokenize.STRING))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            yield from enumerate(token.string.splitlines(), start=token.start[0])
