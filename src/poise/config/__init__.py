"""Configuration: typed settings, presets, files, overrides."""
