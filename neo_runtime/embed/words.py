"""Words of a text, and the letter groups inside a word by which related words are recognised."""

from __future__ import annotations

import re
import unicodedata

# Five letters carry the stem (robot in <robots>) without the chance matches that three or four bring:
# on titles of real products five were best in eight settings compared.
GRAM_LENGTH = 5
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Lower-case words and numbers in order, accents removed, so that Amélie and AMELIE are one word."""
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return _WORD.findall(folded)


def grams(word: str) -> list[str]:
    """Groups of five letters of `<word>`, each once; none for words of one or two letters."""
    marked = f"<{word}>"
    return list(dict.fromkeys(marked[i : i + GRAM_LENGTH] for i in range(len(marked) - GRAM_LENGTH + 1)))
