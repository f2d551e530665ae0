"""The text of a config, formatted once for a run."""

from mmengine.config import Config

_texts: dict[str, str] = {}
"""The newest text, by what the config holds."""


class FormattedOnce(Config):
    """A config that remembers its text.

    MMEngine asks for it four times at the start of a run: for the log, two files and the message hub. Each time yapf
    formats it, which takes a quarter of a second.
    """

    @classmethod
    def of(cls, cfg: Config) -> 'FormattedOnce':
        """The same config; it shares its content."""
        config = cls.__new__(cls)
        config.__setstate__(cfg.__getstate__())
        return config

    @property
    def pretty_text(self) -> str:
        """As that of `Config`."""
        content = repr(self.to_dict())
        if content not in _texts:
            _texts.clear()
            _texts[content] = super().pretty_text
        return _texts[content]
