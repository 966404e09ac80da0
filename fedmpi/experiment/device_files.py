"""The files that [devices] names: their texts, and a Config that holds their contents.

A file is looked up in the folder of the configuration, then in the working directory.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedmpi import config as configuration
from fedmpi.errors import ConfigError
from fedmpi.simulated import DevicesSection
from fedmpi.text_file import LONGEST, text_of
from fedmpi.world.profile import devices_in
from fedmpi.world.series import CARBON, LINKS, series_in
from fedmpi.world.traces import rows_in

LONGEST_TRACE = 200_000_000
HELD = {  # where the contents of a file of [devices] are kept
    "profile": "tiers",
    "trace": "recorded",
    "bandwidth": "links",
    "carbon_g_per_kwh": "intensity",
}
READERS: dict[str, Callable[[str, str], Any]] = {
    "profile": devices_in,
    "trace": rows_in,
    "bandwidth": lambda text, place: series_in(text, place, LINKS),
    "carbon_g_per_kwh": lambda text, place: series_in(text, place, CARBON),
}


def by_key(text: str, place: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Return {key of [devices]: text} of the files that the [devices] of TOML `text` names.

    `place` is the path of the configuration. Raises ConfigError.
    """
    return _texts(configuration.read(text, place, overrides).devices, place)


def by_name(text: str, place: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Return {name: text} of the same files, by the names that the configuration gives them."""
    section = configuration.read(text, place, overrides).devices
    return {section.files[key]: found for key, found in _texts(section, place).items()}


def with_contents(
    config: configuration.Config, place: str, texts: Mapping[str, str] | None = None
) -> configuration.Config:
    """Return the Config with the contents of the files of [devices], which it no longer needs.

    `texts` is the dict that `by_key` returned; without it the files are read here. Raises
    ConfigError.
    """
    section = config.devices
    texts = _texts(section, place) if texts is None else texts
    held = {HELD[key]: READERS[key](text, getattr(section, key)) for key, text in texts.items()}
    devices = section.model_copy(update=held)
    return config.model_copy(update={"devices": devices})


def _texts(section: DevicesSection, place: str) -> dict[str, str]:
    """Return {key: text} of the files that a DevicesSection names and has not read yet."""
    texts = {}
    for key, name in section.files.items():
        path = Path(place).parent / name
        try:
            kind = "CSV or JSON" if key == "trace" else "CSV"
            longest = LONGEST_TRACE if key == "trace" else LONGEST
            texts[key] = text_of(path if path.is_file() else name, kind, longest)
        except ConfigError as error:
            raise ConfigError(f"{place}: devices.{key}: {error}") from None
    return texts
