"""Names of a System in another language: kept where they are legal, changed in a stated and reversible way where not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

GREEK = {"LAMDA": "lambda"}  # Unicode's own spelling


@dataclass(frozen=True)
class Names:
    """One legal name per symbol, no two alike.

    Args:
        table: Symbol -> name in the language.
    """

    table: dict[sp.Symbol, str]

    @property
    def changed(self) -> dict[str, str]:
        """New name -> the user's own, where they differ; no two new names are alike, so this can be undone.

        Example:
            >>> l, x1, x_1 = sp.symbols("λ x1 x_{1}")
            >>> names([l, x1, x_1], reserved=["lambda"]).changed
            {'lambda_': 'λ', 'x_1': 'x_{1}'}
        """
        return {new: str(symbol) for symbol, new in self.table.items() if new != str(symbol)}

    def __getitem__(self, symbol: sp.Symbol) -> str:
        return self.table[symbol]

    def free(self, *wished: str) -> str:
        """The first wished prefix that no name of the table continues by digits."""
        taken = self.table.values()
        return next(w for w in wished if not any(re.fullmatch(rf"{w}\d*", name) for name in taken))


def words(text: str) -> frozenset[str]:
    """Words divided by spaces."""
    return frozenset(text.split())


def names(symbols: Iterable[sp.Symbol], reserved: Iterable[str]) -> Names:
    """Legal names for symbols.

    A name of ASCII letters, digits and underscores that begins with a letter is kept, unless the language reserves
    it. In others Greek letters are spelt out, what is no letter or digit becomes an underscore, and other letters become
    `u` with their code; a reserved name gets an underscore, a name that is taken a number.

    Args:
        symbols: What to name. Legal names are settled first, so that no other takes them.
        reserved: Keywords and functions of the language.
    """
    reserved = frozenset(reserved)
    symbols = list(symbols)
    given = {s: s.name for s in symbols if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", s.name) and s.name not in reserved}
    taken = {*reserved, *given.values()}
    for symbol in symbols:
        if symbol not in given:
            given[symbol] = _unused(_spelt(symbol.name), taken)
            taken.add(given[symbol])
    return Names({symbol: given[symbol] for symbol in symbols})


def _spelt(name: str) -> str:
    text = "".join(_letters(character) for character in name.replace("'", "_prime"))
    text = re.sub(r"__+", "_", text).rstrip("_")
    return text if re.match(r"[A-Za-z]", text) else f"v{text}" if text.startswith("_") else f"v_{text}"


def _letters(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() else "_"
    words = unicodedata.name(character, "").split()
    if words[:1] == ["GREEK"] and "LETTER" in words and len(words) == 4:
        letter = GREEK.get(words[3], words[3].lower())
        return letter.capitalize() if words[1] == "CAPITAL" else letter
    return f"u{ord(character):x}" if character.isalnum() else "_"


def _unused(name: str, taken: set[str]) -> str:
    # Of a name that ends in a digit, "x_1" and "x_12" would look like two indices.
    candidates = (f"{name}_{i or ''}" for i in [0, *range(2, len(taken) + 3)])
    return name if name not in taken else next(c for c in candidates if c not in taken)
