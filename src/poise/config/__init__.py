"""Configuration: typed settings, presets, files, overrides."""

from poise.config.quantities import parse_size, parse_target
from poise.config.resolve import PRESETS, dump, override, parse_override, resolve
from poise.config.settings import RunSettings

__all__ = ["PRESETS", "RunSettings", "dump", "override", "parse_override", "parse_size", "parse_target", "resolve"]
