"""Words of a text, and the letter groups inside a word by which related words are recognised."""

from __future__ import annotations

import re
import unicodedata

# Five letters carry the stem (robot in <robots>) without the chance matches that three or four bring:
# on titles of real products five were best in eight settings compared.
GRAM_LENGTH = 5
_WORD = re.compile(r"[^\W_]+")
# English words without a theme. They are in so many texts that "space adventure with robots" found "Helicopter with
# Pilot"; in a catalog of another language the list does next to nothing.
_STOP_WORDS = (
    "a an and are as at be been but by for from had has have he her him his i if in into is it its me my no not of "
    "off on one or our out she so than that the their them then there they this to two up was we were what when where "
    "which who whom whose will with you your"
)
_STOP_WORD_SET = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """Lower-case words and numbers in order, without accents (Amélie and AMELIE are one word) and stop words."""
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return [word for word in _WORD.findall(folded) if word not in _STOP_WORD_SET]


def grams(word: str) -> list[str]:
    """Groups of five letters of `<word>`, each once; none for words of one or two letters."""
    marked = f"<{word}>"
    return list(dict.fromkeys(marked[i : i + GRAM_LENGTH] for i in range(len(marked) - GRAM_LENGTH + 1)))
