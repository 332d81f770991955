"""Configuration: typed settings, presets, files, overrides."""

from poise.config.quantities import parse_size, parse_target
from poise.config.resolve import dump, override, parse_override, resolve
from poise.config.settings import RunSettings
from poise.named import PRESETS

__all__ = ["PRESETS", "RunSettings", "dump", "override", "parse_override", "parse_size", "parse_target", "resolve"]
