"""How the official VQA evaluation compares answers. Imports the standard library.

Behaviour and tables: GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# Digits are ASCII's: the official code is Python 2's.
_COMMA_IN_NUMBER = re.compile(r"[0-9],[0-9]")
_PERIOD = re.compile(r"\.(?![0-9])")
# The official code hands re.UNICODE (32) to the argument that counts replacements.
_PERIODS_AT_MOST = 32
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
# What is written -> what it counts as. The official table also has four entries with capitals,
# which never match (words are lower case by then), and two that change nothing.
_TABLE = """
aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've
couldnt've:couldn't've didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't hadnt've:hadn't've
hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've he'dve:he'd've hes:he's
howd:how'd howll:how'll hows:how's isnt:isn't itd:it'd itd've:it'd've it'dve:it'd've
itll:it'll maam:ma'am mightnt:mightn't mightnt've:mightn't've mightn'tve:mightn't've
mightve:might've mustnt:mustn't mustve:must've neednt:needn't notve:not've oclock:o'clock
oughtnt:oughtn't ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't
shed've:she'd've she'dve:she'd've shouldve:should've shouldnt:shouldn't
shouldnt've:shouldn't've shouldn'tve:shouldn't've somebody'd:somebodyd
somebodyd've:somebody'd've somebody'dve:somebody'd've somebodyll:somebody'll
somebodys:somebody's someoned:someone'd someoned've:someone'd've someone'dve:someone'd've
someonell:someone'll someones:someone's somethingd:something'd
somethingd've:something'd've something'dve:something'd've somethingll:something'll
thats:that's thered:there'd thered've:there'd've there'dve:there'd've therere:there're
theres:there's theyd:they'd theyd've:they'd've they'dve:they'd've theyll:they'll
theyre:they're theyve:they've twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've
weve:we've werent:weren't whatll:what'll whatre:what're whats:what's whatve:what've
whens:when's whered:where'd wheres:where's whereve:where've whod:who'd whod've:who'd've
who'dve:who'd've wholl:who'll whos:who's whove:who've whyll:why'll whyre:why're whys:why's
wont:won't wouldve:would've wouldnt:wouldn't wouldnt've:wouldn't've wouldn'tve:wouldn't've
yall:y'all yall'll:y'all'll y'allll:y'all'll yall'd've:y'all'd've y'alld've:y'all'd've
y'all'dve:y'all'd've youd:you'd youd've:you'd've you'dve:you'd've youll:you'll youre:you're
youve:you've
"""
_CONTRACTIONS = dict(pair.split(":") for pair in _TABLE.split())


def clean_answer(answer: str) -> str:
    """Line breaks and tabs become blanks, the ends are stripped.

    This is all that the official evaluation does where the ten people agree to the letter; where
    they do not, it compares ``normalize_answer`` of the answers.
    """
    return answer.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=1 << 18)  # ten people give few different answers
def normalize_answer(answer: str) -> str:
    """The form in which the official evaluation compares answers.

    Punctuation goes (or becomes a blank, where it stands between letters), periods go unless a
    digit follows, all is lower case, number words become digits, articles go, and contractions
    get their apostrophe.
    """
    answer = clean_answer(answer)
    text = answer
    delete = _COMMA_IN_NUMBER.search(answer) is not None
    for sign in _PUNCTUATION:
        if sign in text:
            beside_blank = f"{sign} " in answer or f" {sign}" in answer
            text = text.replace(sign, "" if delete or beside_blank else " ")
    text = _PERIOD.sub("", text, count=_PERIODS_AT_MOST)
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def most_common(answers: Iterable[str]) -> str:
    """The normalised answer that most of the people gave, the first of several."""
    counts = Counter(map(normalize_answer, answers))
    return max(counts, key=counts.__getitem__)


@lru_cache
def leave_one_out(matches: int, people: int) -> float:
    """The official accuracy of an answer that some of the people gave.

    It is the mean, over the ways to leave one person out, of min(1, matches among the others / 3):
    0.3, 0.6, 0.9 and 1 for 1, 2, 3 and more ``matches`` among ten ``people``.
    """
    with_them = matches * min(1.0, max(matches - 1, 0) / 3)
    without = (people - matches) * min(1.0, matches / 3)
    return (with_them + without) / people


def soft_scores(answers: Iterable[str]) -> dict[str, float]:
    """Training targets of a question: each normalised answer with its official accuracy."""
    counts: Counter[str] = Counter()
    for answer, count in Counter(answers).items():
        counts[normalize_answer(answer)] += count
    people = sum(counts.values())
    return {answer: leave_one_out(count, people) for answer, count in counts.items()}
