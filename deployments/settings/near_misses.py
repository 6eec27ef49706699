"""Variables that somebody may have meant for the service, and that nothing reads."""

from __future__ import annotations

from pathlib import Path

from deployments.settings.policy_file import KEY_OF
from deployments.settings.service import PREFIX, variable_names, variables

# What other software calls settings like ours, and what ours are called. A name that ends in "_" is a prefix.
STRANGERS = {
    "API_KEY": "GANTRY_API_KEY",
    "MODEL_PATH": "GANTRY_MODEL_PATH",
    "DATABASE_URL": "GANTRY_DATABASE_URL",
    "DB_": "GANTRY_DATABASE_URL",
    "MARIADB_": "GANTRY_DATABASE_URL",
}


def unread_variables(file: Path = Path(".env")) -> tuple[str, ...]:
    """A sentence for each setting that somebody may have meant by a variable that nothing reads; names, no values."""
    found: dict[str, list[str]] = {}
    # An unknown name that begins as ours do is refused; one that nearly does would be passed over without a word.
    spelt = {_letters(ours): ours for ours in (*variable_names().values(), *KEY_OF)}
    for name in sorted(variables(file)):
        if not name.startswith(PREFIX) and (ours := spelt.get(_letters(name))) is not None:
            found.setdefault(ours, []).append(name)
        for stranger, ours in STRANGERS.items():
            if name == stranger or (stranger.endswith("_") and name.startswith(stranger)):
                found.setdefault(ours, []).append(name)
    return tuple(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} set and read by nothing: the setting is {ours}"
        for ours, names in found.items()
    )


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()
