"""What a line of a person means, by fixed rules of English. No I/O; what is done about it is in `scripts`.

Rules are tried in the order of RULES; what none of them is sure of is UNKNOWN.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from clawkakad.simulator.offline import patterns, tables
from clawkakad.simulator.offline.moments import tidy_when
from clawkakad.simulator.offline.money import MONEY, amount_of, is_signed, only_money, words_beside

MOST_PIECES = 20  # more than this of one food is a price: "had lunch 450"


class Kind(StrEnum):
    """What is asked for."""

    EXPENSE = "expense"
    MAYBE_EXPENSE = "maybe expense"  # a word and a number, and no sign that it is money
    INCOME = "income"
    MEAL = "meal"
    TASK_ADD = "task add"
    TASK_DONE = "task done"
    TASK_LIST = "task list"
    REMIND = "remind"
    REMIND_WITHOUT_TIME = "remind without time"
    REMIND_LIST = "remind list"
    REMIND_CANCEL = "remind cancel"
    SUMMARY = "summary"
    FIND = "find"
    UNDO = "undo"
    NAME = "name"
    ZONE = "zone"
    CURRENCY = "currency"
    GOAL = "goal"
    GREETING = "greeting"
    THANKS = "thanks"
    HELP = "help"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Intent:
    """One thing that is asked for. `source`: the person's own words. `values`: by kind; absent reads as ""."""

    kind: Kind
    source: str
    values: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


def understand(line: str) -> Intent:
    """What one line asks for."""
    text = " ".join(line.split())
    for rule in RULES:
        intent = rule(text)
        if intent is not None:
            return intent
    return Intent(Kind.UNKNOWN, text)


def understand_all(lines: Sequence[str]) -> list[Intent]:
    """What each line asks for; "and eggs" behind a line with a task is one more task."""
    found: list[Intent] = []
    for line in lines:
        intent = understand(line)
        more = patterns.ITEM_MORE.fullmatch(intent.source) if intent.kind is Kind.UNKNOWN else None
        if more and found and found[-1].kind is Kind.TASK_ADD:
            intent = _new_task(intent.source, more["what"])
        found.append(intent)
    return found


TALK = {
    Kind.GREETING: patterns.GREETING,
    Kind.THANKS: patterns.THANKS,
    Kind.HELP: patterns.HELP,
    Kind.UNDO: patterns.UNDO,
}


def _talk(text: str) -> Intent | None:
    return next((Intent(kind, text) for kind, pattern in TALK.items() if pattern.fullmatch(text)), None)


def _remind(text: str) -> Intent | None:
    if patterns.REMIND_LIST.fullmatch(text):
        return Intent(Kind.REMIND_LIST, text)
    if match := patterns.REMIND_CANCEL.fullmatch(text):
        return Intent(Kind.REMIND_CANCEL, text, {"id": match["id"]})
    match = patterns.REMIND.fullmatch(text)
    if match is None:
        return None
    found = patterns.WHEN_FIRST.fullmatch(match["rest"]) or patterns.WHEN_LAST.fullmatch(match["rest"])
    if found is None:
        return Intent(Kind.REMIND_WITHOUT_TIME, text, {"what": match["rest"]})
    return Intent(Kind.REMIND, text, {"when": tidy_when(found["when"]), "what": found["what"].strip(" ,.")})


def _profile(text: str) -> Intent | None:
    if (match := patterns.CALL_ME.fullmatch(text)) and (name := tidy_name(match["name"])):
        return Intent(Kind.NAME, text, {"name": name})
    if match := patterns.ZONE.search(text):
        return Intent(Kind.ZONE, text, {"zone": match["zone"]})
    if match := patterns.CURRENCY.fullmatch(text):
        return Intent(Kind.CURRENCY, text, {"currency": match["currency"].upper()})
    if match := patterns.GOAL.search(text):
        kind = "kcal" if "cal" in match["kind"].lower() else match["kind"].lower()
        return Intent(Kind.GOAL, text, {"kind": kind, "value": match["value"]})
    return None


def _tasks(text: str) -> Intent | None:
    if patterns.TASK_LIST.fullmatch(text):
        return Intent(Kind.TASK_LIST, text)
    if match := patterns.TASK_ADD.fullmatch(text):
        return _new_task(text, match["what"])
    if match := patterns.TASK_DONE.fullmatch(text):
        return Intent(Kind.TASK_DONE, text, {"what": (match["first"] or match["last"]).strip()})
    return None


def _new_task(text: str, words: str) -> Intent:
    due = patterns.DUE.fullmatch(words)
    values = {"what": due["what"], "due": tidy_when(due["by"] or due["on"])} if due else {"what": words}
    return Intent(Kind.TASK_ADD, text, {**values, "what": capital(values["what"])})


def _item(text: str) -> Intent | None:
    match = patterns.ITEM.fullmatch(text)
    return _new_task(text, match["what"]) if match else None


def _totals(text: str) -> Intent | None:
    if patterns.SUMMARY.search(text):
        span = re.search(r"\b(week|month)", text, re.IGNORECASE)
        return Intent(Kind.SUMMARY, text, {"span": span[1].lower() if span else "today"})
    if match := patterns.FIND.fullmatch(text):
        return Intent(Kind.FIND, text, {"what": match["what"]})
    return None


def _income(text: str) -> Intent | None:
    money = only_money(text)
    if money is None or not patterns.EARNED.search(text) or re.match(r"(?:i\s+)?(?:paid|spent)\b", text, re.IGNORECASE):
        return None
    return Intent(Kind.INCOME, text, {**amount_of(money), "what": phrase(words_beside(money, text)) or "Income"})


def _meal(text: str) -> Intent | None:
    match = patterns.ATE_AT.fullmatch(text) or patterns.ATE.fullmatch(text)
    if match is None or any(_is_price(money) for money in MONEY.finditer(text)):
        return None
    meal = match if "meal" in match.groupdict() else patterns.MEAL.search(text)
    food = patterns.MEAL.sub("", match["food"]).strip(" .!,")
    if not food or food.lower() in ("breakfast", "lunch", "dinner"):
        return None
    values = {"what": food, "kcal": str(estimate_kcal(food)), "meal": meal["meal"].lower() if meal else ""}
    return Intent(Kind.MEAL, text, values)


def _is_price(money: re.Match[str]) -> bool:
    return is_signed(money) or float(amount_of(money)["amount"]) > MOST_PIECES


def _expense(text: str) -> Intent | None:
    money = only_money(text)
    if money is None or text.endswith("?"):
        return None
    what, category = phrase(words_beside(money, text)), category_of(text)
    sure = is_signed(money) or patterns.SPENT.search(text) or category != tables.DEFAULT_CATEGORY
    if not sure and (patterns.NOT_MONEY.search(text) or not re.fullmatch(r"[^\W\d]{3,}(?: \S+){0,2}", what)):
        return None
    values = {**amount_of(money), "what": what or category, "category": category}
    if re.search(r"\byesterday\b", text, re.IGNORECASE):
        values["at"] = "yesterday"
    return Intent(Kind.EXPENSE if sure else Kind.MAYBE_EXPENSE, text, values)


RULES = (_talk, _remind, _profile, _tasks, _meal, _totals, _income, _expense, _item)


def category_of(text: str) -> str:
    """The category of the first word that has one."""
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in tables.CATEGORY_OF:
            return tables.CATEGORY_OF[word]
    return tables.DEFAULT_CATEGORY


def estimate_kcal(food: str) -> int:
    """A rough sum: pieces times what one has; with no known food in it, a plate of something."""
    total, count = 0.0, 1.0
    for word in re.findall(r"\d+(?:\.\d+)?|[a-z]+", food.lower()):
        if word[0].isdigit():
            count = float(word)
        elif word in tables.NUMBER_WORDS:
            count = tables.NUMBER_WORDS[word]
        elif word in tables.KCAL:
            total, count = total + count * tables.KCAL[word], 1.0
    return round(total or count * tables.UNKNOWN_FOOD_KCAL)


def tidy_name(words: str) -> str:
    """A name of one to four words without digits, or nothing: "I'm asha, nice to meet you" is Asha."""
    match = patterns.GIVEN.search(words)
    given = re.split(r"[,.;!?\n]|\s+and\s", match["name"] if match else words, maxsplit=1)[0]
    parts = re.sub(r"[^\w\s'’-]", "", given).split()
    if not 1 <= len(parts) <= 4 or len(given) > 40 or any(c.isdigit() for c in given):
        return ""
    return " ".join(capital(part) for part in parts)


def phrase(words: str) -> str:
    """What something was spent on, without loose ends."""
    text = words.strip(" ,.;:-!")
    while (shorter := patterns.TRAILING.sub("", patterns.LEADING.sub("", text)).strip(" ,.;:-!")) != text:
        text = shorter
    return capital(text)


def capital(words: str) -> str:
    """With a capital letter in front."""
    return words[:1].upper() + words[1:]
