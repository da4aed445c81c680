"""The commands of `calm`, one module each; see `calmstorm.cli`."""
